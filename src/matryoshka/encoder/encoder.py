"""The encoder: texts or packed token ids to embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from matryoshka.data.packing import PackedBatch, stable_batches
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder.architectures import packed_inputs, use_packed_attention
from matryoshka.encoder.compact_vocabulary import CompactVocabulary
from matryoshka.encoder.dense import Dense
from matryoshka.encoder.dropout import use_fast_dropout
from matryoshka.encoder.lower_case import lowercasing
from matryoshka.encoder.packed_layer import PackedLayers
from matryoshka.encoder.pooling import Pooling, pool
from matryoshka.encoder.progress import Advance, progress_bar
from matryoshka.encoder.readback import Key, Rows, on_host
from matryoshka.encoder.tokenizing import Tokenizing

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Prompt = Literal["query", "document"]
Precision = Literal["fp32", "bf16"]


class Encoder(Tokenizing, nn.Module):
    """A transformers model, its tokenizer, a pooling and, behind it, dense layers such as a projection.

    Texts of a batch lie end to end in one row where the architecture allows it (`packed`), else they are padded.
    prompts: texts put in front of queries and documents. do_lower_case: whether all texts are lowercased first. forward
    does not normalise.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        tokenizer: Any,
        pooling: Pooling,
        *,
        max_seq_length: int,
        prompts: Mapping[str, str] | None = None,
        dense: Sequence[Dense] = (),
        do_lower_case: bool = False,
        name: str = "",
        revision: str | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.tokenizer = lowercasing(tokenizer) if do_lower_case else tokenizer
        self.do_lower_case = do_lower_case
        self.pooling = pooling
        self.dense = nn.Sequential(*dense)
        self.max_seq_length = max_seq_length
        self.prompts = {"query": "", "document": "", **(prompts or {})}
        self.name = name
        self.revision = revision
        self.first_position = use_packed_attention(backbone, name)
        use_fast_dropout(backbone)
        self.packed_layers = PackedLayers(backbone)
        self.vocabulary: CompactVocabulary | None = None

    @classmethod
    def load(cls, model: str, **options: Any) -> Encoder:
        """An encoder from a folder, a run's folder, a hub name or an embedded one; see Pretrained for the options."""
        from matryoshka.encoder.pretrained import Pretrained

        return Pretrained(model, **options).load()

    @property
    def width(self) -> int:
        """Numbers in an embedding."""
        return cast(Dense, self.dense[-1]).width if len(self.dense) else self.pooled_width

    @property
    def pooled_width(self) -> int:
        """Numbers that the pooling gives."""
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
        return cast(Tensor, self.dense(self.pooled(batch)))

    def pooled(self, batch: PackedBatch) -> Tensor:
        """What the pooling gives, in fp32: (S, pooled_width)."""
        if 0 in batch.lengths:
            raise ValueError("a text has no tokens: it is empty, and the tokenizer adds none of its own")
        ids_T = batch.input_ids_T
        if self.first_position is not None:
            own_T = self.vocabulary(ids_T) if self.vocabulary else ids_T
            hidden_TH = self.backbone(input_ids=own_T[None], **packed_inputs(batch, self.first_position))[0][0]
        else:
            ids_SL, mask_SL = batch.padded(self.tokenizer.pad_token_id or 0)  # a decoder may have none, and needs none
            hidden_SLH = self.backbone(input_ids=ids_SL, attention_mask=mask_SL.long())[0]
            hidden_TH = hidden_SLH.flatten(0, 1)[batch.padded_places_T()]
        return pool(self.pooling, hidden_TH.float(), batch)

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
        batches = ((texts, PackedBatch.of_texts(ids, texts)) for texts in stable_batches(ids, token_budget))
        for texts, embeddings_SD in self.encode_batches(batches, precision):
            rows_ND[texts] = embeddings_SD
            if advance:
                advance(sum(len(ids[text]) for text in texts))

    @torch.inference_mode()
    def encode_batches(
        self, batches: Iterable[tuple[Key, PackedBatch]], precision: Precision, *, pooled: bool = False
    ) -> Iterator[tuple[Key, Tensor]]:
        """Of each batch its key and embeddings, or what is pooled, lazily: a GPU has the next before one is given."""
        training = self.training
        self.eval()

        def encoded() -> Iterator[tuple[Key, Tensor]]:
            for key, batch in batches:
                if self.vocabulary:
                    self.vocabulary.require(batch.input_ids_T)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16"):
                    embeddings_SD = (self.pooled if pooled else self)(batch.sent(self.device))
                yield key, embeddings_SD

        try:
            with self.packed_layers.cast_once(self.device, torch.bfloat16 if precision == "bf16" else torch.float32):
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
        progress: a bar; by default for more than 1,000 texts. Each distinct text is encoded once.
        Raises ValueError if dim is not between 1 and the width, TypeError for one text in place of several.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a list of texts: encode([text])")
        if dim is not None and not 1 <= dim <= self.width:
            raise ValueError(f"dim={dim}: the encoder is {self.width} wide")
        distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        ids = self.token_ids(list(distinct), prompt)
        embeddings_ND = torch.empty(len(ids), self.width)
        progress = len(texts) > 1000 if progress is None else progress
        with progress_bar("encoding", len(ids.flat), show=progress) as advance:
            self.encode_into(embeddings_ND, ids, token_budget=token_budget, precision=precision, advance=advance)
        embeddings_ND = embeddings_ND[[distinct[text] for text in texts], :dim]
        embeddings_ND = F.normalize(embeddings_ND, dim=-1) if normalize else embeddings_ND
        return embeddings_ND if as_tensor else embeddings_ND.numpy()
