"""A saved model tried as its readers use it, before it is called saved: two texts, padded, through its own files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from matryoshka.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from matryoshka.encoder.encoder import Encoder

TEXTS = ("hello!", "the second text is longer, so the first one is filled up with padding.")
ALLOWED = 1e-3  # between numbers of embeddings of length 1, in fp32; attention to padding changes more
IN_HALVES = 5e-2  # of weights of 16 bits
REMEDY = "use export=none, keep the run's folder, and report it with the model's name"

HiddenStates = Callable[["Tensor", "Tensor"], "Tensor"]


def transformer_of(folder: Path, encoder: Encoder) -> HiddenStates:
    """(input_ids_SL, mask_SL) -> hidden states (S, L, H) by the saved transformer, which is read when it is called.

    Its weights are mapped from the file, as transformers reads safetensors for a CPU: no second copy is in memory.
    """

    def hidden(ids_SL: Tensor, mask_SL: Tensor) -> Tensor:
        from matryoshka.encoder.encoder_half import model_class

        reader = model_class(encoder.backbone.config.model_type)
        saved = reader.from_pretrained(folder, local_files_only=True, trust_remote_code=_is_trusted(encoder.backbone))
        hidden_SLH: Tensor = saved.eval()(input_ids=ids_SL, attention_mask=mask_SL)[0]
        return hidden_SLH

    return hidden


def require_same_embeddings(encoder: Encoder, folder: Path, dim: int | None, hidden: HiddenStates, what: str) -> None:
    """Raises UserError unless the saved tokenizer, padding, `hidden`, pooling and layers give the encoder's embeddings.

    dim: numbers that the saved model gives, None for all. what: of the folder is tried, for the message.
    """
    import torch

    expected_SD = encoder.encode(TEXTS, dim=dim, as_tensor=True)
    try:
        with torch.inference_mode():
            saved_SD = _embeddings_SD(folder, hidden, trusted=_is_trusted(encoder.tokenizer))
    except MemoryError:
        raise
    except Exception as error:  # the errors of transformers, tokenizers and onnxruntime are of every kind
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"export: the saved {what} cannot encode two texts at once: {first}; {REMEDY}") from error
    assert isinstance(expected_SD, torch.Tensor)
    difference = (saved_SD - expected_SD).abs()
    allowed = ALLOWED if encoder.backbone.dtype == torch.float32 else IN_HALVES
    # what is not finite was so before, and is nothing of the export's
    if bool((difference > allowed).any()) or not torch.equal(saved_SD.isfinite(), expected_SD.isfinite()):
        raise UserError(
            f"export: the saved {what} gives other embeddings than the encoder, by {difference.max():.2g}; {REMEDY}"
        )


def _is_trusted(part: object) -> bool:
    """Whether code of the model's own runs already."""
    return type(part).__module__.startswith("transformers_modules")


def _embeddings_SD(folder: Path, hidden: HiddenStates, *, trusted: bool) -> Tensor:
    """As sentence-transformers makes them of the folder, of length 1."""
    import torch.nn.functional as F
    from transformers import AutoTokenizer

    from matryoshka.encoder.pooling import Pooling
    from matryoshka.encoder.sentence_transformers import SavedSettings

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted)
    batch = tokenizer(list(TEXTS), padding=True, truncation=True, return_tensors="pt")
    mask_SL = batch["attention_mask"]
    settings = SavedSettings.read(folder)
    hidden_TH = hidden(batch["input_ids"], mask_SL)[mask_SL.bool()].float()
    embeddings_SD = Pooling(settings.pooling or ("cls",))(hidden_TH, mask_SL.sum(1))
    for saved in settings.dense:
        embeddings_SD = saved.load()(embeddings_SD)
    return F.normalize(embeddings_SD, dim=-1)
