"""Encoding by every packed architecture against sentence-transformers': `python benchmarks/models.py [--repeats 3]`.

Each is a random model of few layers with equal weights, texts and precision on both sides. The texts are random words,
questions and passages of the published card's lengths, halved: 12 to 19 tokens, and 105 on average. Tokenizing is part
of both sides.
"""

from __future__ import annotations

import tempfile
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_model import SPECIAL, Shape, Texts, tokenizer_of
from record import Comparison, Record
from sentence_transformers import SentenceTransformer
from sides import arguments, interleaved
from transformers import CONFIG_MAPPING, AutoModel, logging

from matryoshka.encoder import Encoder, Pooling
from matryoshka.encoder.architectures import FIRST_POSITION
from matryoshka.export.sentence_transformers import SentenceTransformersFolder

SHAPE = Shape(layers=2, width=256, heads=4, inner=768, words=2000, longest=512)
GROUPED = {"num_key_value_heads": 2}
OWN: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 128},
    "distilbert": {"dim": 256, "n_layers": SHAPE.layers, "n_heads": SHAPE.heads, "hidden_dim": SHAPE.inner},
    "eurobert": {**GROUPED, "mask_token_id": 3},
    "gemma3_text": {**GROUPED, "head_dim": 64, "layer_types": ["sliding_attention", "full_attention"]},
    "llama": GROUPED,
    "mistral": GROUPED,
    "modernbert": {"global_attn_every_n_layers": 2, "cls_token_id": 0, "sep_token_id": 2},
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 64},
}


def random_model(kind: str, folder: Path) -> tuple[Encoder, SentenceTransformer]:
    """Both sides of one architecture."""
    sizes = {"hidden_size": SHAPE.width, "num_hidden_layers": SHAPE.layers, "num_attention_heads": SHAPE.heads}
    numbers = {"vocab_size": SHAPE.words + len(SPECIAL), "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    numbers |= {"max_position_embeddings": SHAPE.longest + 2, "intermediate_size": SHAPE.inner}
    given = {**numbers, **({} if kind == "distilbert" else sizes), **OWN.get(kind, {})}
    torch.manual_seed(0)
    backbone = AutoModel.from_config(CONFIG_MAPPING[kind](**given))
    encoder = Encoder(backbone, tokenizer_of(SHAPE), Pooling(["mean"]), max_seq_length=SHAPE.longest)
    path = SentenceTransformersFolder().save(encoder, folder / kind)
    theirs = SentenceTransformer(str(path), device="cpu", local_files_only=True)
    theirs[0].processor = encoder.tokenizer  # transformers reads every Qwen2's as one of pairs of bytes
    return encoder.eval(), theirs


def measured(kind: str, texts: list[str], repeats: int, precision: Any, folder: Path) -> Comparison:
    """Tokens encoded a second, on both sides."""
    encoder, theirs = random_model(kind, folder)
    assert encoder.packed

    def by_theirs(_: int = 0) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return theirs.encode(texts, show_progress_bar=False)

    found = np.asarray(encoder.encode(texts, precision=precision))  # first calls, not measured
    difference = np.abs(found - by_theirs()).max()
    if len(np.unique(found.round(5), axis=0)) < len(texts):
        raise SystemExit(f"{kind}: texts have one embedding")
    seconds = interleaved(lambda _: encoder.encode(texts, precision=precision), by_theirs, repeats)
    tokens = sum(map(len, encoder.tokenize(texts)))
    ours, others = ([tokens / second for second in side] for side in seconds)
    return Comparison(f"encoding, {kind}", "tokens/s", ours, others, True, f"differ by at most {difference:.1e}")


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", texts=128)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    texts = list(chain.from_iterable(Texts(SHAPE).pairs(options.texts // 2)))
    record = Record("Architectures")
    with tempfile.TemporaryDirectory() as folder:
        for kind in FIRST_POSITION:
            record.comparisons.append(measured(kind, texts, options.repeats, options.precision, Path(folder)))
    record.show()
    record.write(options.json)


if __name__ == "__main__":
    main()
