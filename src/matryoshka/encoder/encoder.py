"""The encoder: texts or packed token ids to embeddings."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from matryoshka.data.packing import PackedBatch, stable_batches
from matryoshka.data.tokens import TokenIds, token_ids
from matryoshka.encoder.compact_vocabulary import CompactVocabulary
from matryoshka.encoder.dropout import use_fast_dropout
from matryoshka.encoder.packed_attention import Sequences, positions_after_pad, use_packed_attention
from matryoshka.encoder.pooling import Pooling
from matryoshka.encoder.progress import Advance, progress_bar
from matryoshka.encoder.readback import Key, Rows, on_host

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

Prompt = Literal["query", "document"]
Precision = Literal["fp32", "bf16"]


class Encoder(nn.Module):
    """A transformers model, its tokenizer and a pooling.

    Texts of one batch lie end to end in one row wherever the architecture allows it (`packed`); otherwise they are
    padded. prompts: texts put in front of queries and documents. Embeddings are not normalised by forward.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        tokenizer: Any,
        pooling: Pooling,
        *,
        max_seq_length: int,
        prompts: Mapping[str, str] | None = None,
        name: str = "",
        revision: str | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.max_seq_length = max_seq_length
        self.prompts = {"query": "", "document": "", **(prompts or {})}
        self.name = name
        self.revision = revision
        self.first_position = use_packed_attention(backbone)
        use_fast_dropout(backbone)
        self.vocabulary: CompactVocabulary | None = None
        if self.first_position is None:
            kind = "a decoder" if getattr(backbone.config, "is_decoder", False) else backbone.config.model_type
            log.info("%s: sequences are padded, since %s can't be packed", name, kind)

    @classmethod
    def load(cls, model: str, **options: Any) -> Encoder:
        """An encoder from a folder, a run's folder, a hub name or an embedded one; see Pretrained for the options."""
        from matryoshka.encoder.pretrained import Pretrained

        return Pretrained(model, **options).load()

    @property
    def width(self) -> int:
        """Numbers in an embedding."""
        return int(self.backbone.config.hidden_size) * self.pooling.factor

    @property
    def packed(self) -> bool:
        """Whether batches are computed without padding."""
        return self.first_position is not None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, batch: PackedBatch) -> Tensor:
        """Embeddings in fp32, not normalised: (S, width). Raises ValueError for a sequence of no tokens."""
        if 0 in batch.lengths:
            raise ValueError("a text has no tokens: it is empty, and the tokenizer adds none of its own")
        ids_T = batch.input_ids_T
        if self.first_position is not None:
            hidden_TH = self.backbone(
                input_ids=(self.vocabulary(ids_T) if self.vocabulary else ids_T)[None],
                position_ids=self._positions_T(batch)[None],
                sequences=Sequences(batch.lengths, batch.cu_seqlens_Z),
            ).last_hidden_state[0]
        else:
            ids_SL, mask_SL = batch.padded(self.tokenizer.pad_token_id or 0)  # a decoder may have none, and needs none
            hidden_SLH = self.backbone(input_ids=ids_SL, attention_mask=mask_SL.long()).last_hidden_state
            hidden_TH = hidden_SLH.flatten(0, 1)[batch.padded_places_T()]
        embeddings_SD: Tensor = self.pooling(hidden_TH.float(), batch.lengths_S)
        return embeddings_SD

    def _positions_T(self, batch: PackedBatch) -> Tensor:
        places_T = batch.positions_T()
        if not self.first_position:
            return places_T
        return positions_after_pad(batch.input_ids_T, places_T, self.first_position - 1)

    def compact_vocabulary(self, used: Iterable[int]) -> CompactVocabulary:
        """Keep only the rows of the word-embedding table that these token ids need, until `whole_vocabulary`.

        Raises ValueError if the model finds positions by its own numbers of tokens, or ties its table to an output.
        """
        if self.first_position is None:
            raise ValueError(f"a {self.backbone.config.model_type} model may need its own numbers of tokens")
        self.vocabulary = CompactVocabulary(self.backbone, {*used, *self.tokenizer.all_special_ids})
        return self.vocabulary

    def whole_vocabulary(self) -> None:
        """Give the model its whole table back, with what was trained; nothing if it has it."""
        if self.vocabulary is not None:
            self.vocabulary.restore(self.backbone)
            self.vocabulary = None

    def tokenize(self, texts: Sequence[str], prompt: Prompt | None = None) -> list[list[int]]:
        """Token ids of each text, with the prompt in front, cut at max_seq_length."""
        prefix = self.prompts[prompt] if prompt else ""
        return token_ids(self.tokenizer, [prefix + text for text in texts], self.max_seq_length)

    def encode_into(
        self,
        rows_ND: Rows,
        ids: TokenIds,
        *,
        token_budget: int = 4096,
        precision: Precision = "fp32",
        advance: Advance | None = None,
    ) -> None:
        """Set the row of each text, of N, to its embedding in fp32, not normalised: (N, width)."""
        batches = ((texts, [ids[text] for text in texts]) for texts in stable_batches(ids, token_budget))
        for texts, embeddings_SD in self.encode_batches(batches, precision):
            rows_ND[texts] = embeddings_SD
            if advance:
                advance(sum(len(ids[text]) for text in texts))

    @torch.inference_mode()
    def encode_batches(
        self, batches: Iterable[tuple[Key, Sequence[Sequence[int]]]], precision: Precision = "fp32"
    ) -> Iterator[tuple[Key, Tensor]]:
        """Of each batch its key and embeddings (S, width), lazily: a GPU has the next before one is given."""
        training = self.training
        self.eval()

        def encoded() -> Iterator[tuple[Key, Tensor]]:
            for key, ids in batches:
                batch = PackedBatch.from_ids([ids]).sent(self.device)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16"):
                    embeddings_SD = self(batch)
                yield key, embeddings_SD

        try:
            yield from on_host(encoded())
        finally:
            self.train(training)

    def encode(
        self,
        texts: Sequence[str],
        *,
        dim: int | None = None,
        prompt: Prompt | None = None,
        token_budget: int = 4096,
        precision: Precision = "fp32",
        normalize: bool = True,
        progress: bool | None = None,
        as_tensor: bool = False,
    ) -> np.ndarray[Any, np.dtype[np.float32]] | Tensor:
        """Embeddings of the texts, in their order: (N, dim) of float32, of length 1 unless normalize is off.

        dim: keep the first so many numbers. prompt: "query" or "document" puts the model's prefix in front.
        progress: a bar on the terminal; by default for more than 1,000 texts. Each distinct text is encoded once.
        Raises ValueError if dim is not between 1 and the width, TypeError for one text in place of several.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a list of texts: encode([text])")
        if dim is not None and not 1 <= dim <= self.width:
            raise ValueError(f"dim={dim}: the encoder is {self.width} wide")
        distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        ids = TokenIds.of(self.tokenize(list(distinct), prompt))
        embeddings_ND = torch.empty(len(ids), self.width)
        show = progress if progress is not None else len(texts) > 1000
        with progress_bar("encoding", len(ids.flat), show=show) as advance:
            self.encode_into(embeddings_ND, ids, token_budget=token_budget, precision=precision, advance=advance)
        embeddings_ND = embeddings_ND[[distinct[text] for text in texts], :dim]
        embeddings_ND = F.normalize(embeddings_ND, dim=-1) if normalize else embeddings_ND
        return embeddings_ND if as_tensor else embeddings_ND.numpy()
