"""SentencePiece's precompiled charsmap: normalisation rules, string to string, packed for tokenizers.

Bytes: u32 length of the trie; the trie, a Darts-clone double array of u32 units; the outputs in UTF-8, each
ended by NUL. A unit holds its label (bits 0-7), whether a key ends below it (bit 8) and the offset to its
children's base (bits 10-30; bit 9 would scale it by 256 and stays 0 here). A child stands at base ^ label.
A key's end is a child with label 0: bit 31 and the output's position.
Sources: github.com/s-yata/darts-clone; SentencePiece, normalizer.cc.
"""

import struct
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import count

_LONGEST_CLUSTER = 5  # UTF-8 bytes; tokenizers looks up longer grapheme clusters character by character
_END = 1 << 31
_HAS_END = 1 << 8

Node = dict[int, "Node | int"]  # label (byte, 0 for a key's end) -> child, or the output's position


def composition_rules(rules: Mapping[str, str]) -> dict[str, str]:
    """Rules for decomposed text, letter + combining mark to composed letter, the latter sent through `rules`.

    Text from macOS file names or PDFs spells ü as u + U+0308. Only pairs that tokenizers can look up are
    made. They follow Unicode 3.2, XLM-R's version, which every CPython carries.
    """
    unicode = unicodedata.ucd_3_2_0
    pairs: list[tuple[str, str]] = []
    spellings: dict[str, list[str]] = {}  # mark -> the mark and the characters that merely decompose to it
    for character in map(chr, range(0x110000)):
        match unicode.decomposition(character).split():
            case [first, second] if not first.startswith("<"):
                pairs.append((chr(int(first, 16)), chr(int(second, 16))))
            case [only]:
                spellings.setdefault(chr(int(only, 16)), []).append(character)
    composed = {}
    for letter, mark in pairs:
        whole = unicode.normalize("NFC", letter + mark)
        if unicode.decomposition(letter) or whole == letter + mark:
            continue
        for spelling in [mark, *spellings.get(mark, [])]:
            if len((letter + spelling).encode()) <= _LONGEST_CLUSTER:
                composed[letter + spelling] = "".join(rules.get(c, c) for c in whole)
    return composed


def build(rules: Mapping[str, str]) -> bytes:
    """Pack rules, free of NUL, into a charsmap; the same rules into the same bytes.

    Raises ValueError if there are so many that an offset does not fit its 21 bits.
    """
    outputs = bytearray()
    positions: dict[str, int] = {}
    root: Node = {}
    for key, output in sorted(rules.items()):
        if output not in positions:
            positions[output] = len(outputs)
            outputs += output.encode() + b"\0"
        node = root
        for byte in key.encode():
            child = node.setdefault(byte, {})
            assert isinstance(child, dict)
            node = child
        node[0] = positions[output]
    units = _double_array(root)
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + bytes(outputs)


def _double_array(root: Node) -> list[int]:
    """The trie's units: unit 0 the root, unused ones 0; whole 256s, which position ^ byte never leaves."""
    nodes = list(_inner_nodes(root))
    bases, taken = _place(nodes)
    units = [0] * ((max(taken) | 255) + 1)
    todo = [(0, root)]
    while todo:
        position, node = todo.pop()
        base = bases[id(node)]
        if position ^ base >= 1 << 21:
            raise ValueError("the rules need too large a trie")
        units[position] |= (position ^ base) << 10 | (_HAS_END if 0 in node else 0)
        for label, child in node.items():
            if isinstance(child, dict):
                units[base ^ label] = label
                todo.append((base ^ label, child))
            else:
                units[base] = _END | child
    return units


def _inner_nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.values():
        if isinstance(child, dict):
            yield from _inner_nodes(child)


def _place(nodes: list[Node]) -> tuple[dict[int, int], set[int]]:
    """A base for each node (by id) and the units taken: no two children share a unit, no two nodes a base.

    First fit, nodes with many children first: those with one fill the holes.
    """
    taken, used, bases = {0}, set[int](), {}
    start: dict[tuple[int, ...], int] = {}  # for each set of labels, no lower base is free
    for node in sorted(nodes, key=len, reverse=True):
        labels = tuple(node)
        for base in count(start.get(labels, 1)):
            if base not in used and not any(base ^ label in taken for label in labels):
                break
        start[labels] = base + 1
        used.add(base)
        bases[id(node)] = base
        taken.update(base ^ label for label in labels)
    return bases, taken
