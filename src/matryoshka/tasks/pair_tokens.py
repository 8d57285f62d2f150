"""The training pairs as token ids, each text with the prompt of its side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from matryoshka.data.mixture import MixedSplit
from matryoshka.data.split import Prompts, Split
from matryoshka.data.tokens import kept_token_ids, tokenized_pairs
from matryoshka.encoder.encoder import Encoder
from matryoshka.encoder.pooling import includes_prompt
from matryoshka.errors import UserError
from matryoshka.training.drawn_texts import DrawnTexts

if TYPE_CHECKING:
    from datasets import Dataset

    from matryoshka.encoder.encoder import Prompt


def pair_tokens(encoder: Encoder, split: Split) -> Dataset:
    """The training pairs as token ids; each source's with its own prompts."""
    if isinstance(split, MixedSplit):
        from datasets import concatenate_datasets

        if not includes_prompt(encoder.pooling) and any(part.prompts for part in split.sources.values()):
            raise UserError("data.prompts: the pooling leaves out the prompt, which has one length; use one with it")
        return concatenate_datasets([pair_tokens(encoder, part) for part in split.sources.values()])
    prompts = prompts_of(encoder, split.pairs.column_names, split.prompts)
    return tokenized_pairs(split.pairs, encoder.tokenizer, encoder.max_seq_length, prompts)


def drawn_texts(split: Split, encoder: Encoder, seed: int) -> DrawnTexts | None:
    """What each epoch draws from, each distinct document tokenized once; None where rows have one text a column."""
    if split.pools is None:
        return None
    anchors, prompts = list(split.pairs["anchor"]), split.pools.prompts
    several = len(set(prompts)) > 1
    if several:
        anchors = [prompt + anchor for prompt, anchor in zip(prompts, anchors, strict=True)]
    ids = partial(kept_token_ids, encoder.tokenizer, max_seq_length=encoder.max_seq_length)
    queries = ids(texts=anchors, prompt="" if several else encoder.prompts["query"])
    documents = ids(texts=split.pools.texts, prompt=encoder.prompts["document"])
    return DrawnTexts.of(split.pools, split.pairs, queries, documents, seed)


def prompts_of(encoder: Encoder, columns: Sequence[str], own: Prompts | None = None) -> dict[str, str]:
    """What stands in front of each column's texts. own: prompts in place of the encoder's."""
    prompts = {**encoder.prompts, **(own or {})}
    return {name: prompts[kind_of(name)] for name in columns}


def kind_of(column: str) -> Prompt:
    """Whether the texts of a column of pairs are queries or documents."""
    return "query" if column == "anchor" else "document"
