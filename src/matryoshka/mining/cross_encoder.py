"""Scores of a question and a passage that are read together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from matryoshka.encoder.sequence_length import longest_sequence
from matryoshka.errors import UserError
from matryoshka.mining.candidates import Numbers
from matryoshka.mining.cross_encoder_folder import cross_encoder_folder

BATCH = 32  # pairs that are scored at once
LONGEST = 512  # tokens of a pair, where the model says nothing


class CrossEncoder:
    """A transformers model with one label, whose logit is the score, in fp32."""

    def __init__(self, model: Any, tokenizer: Any, longest: int = LONGEST) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.longest = longest

    @classmethod
    def load(cls, name: str, device: torch.device) -> CrossEncoder:
        """From a folder or the hub; no code of the model's own is run. Raises UserError if it cannot be loaded."""
        folder = cross_encoder_folder(name)
        options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        reading: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True, "dtype": torch.float32}
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **options)
            model, told = AutoModelForSequenceClassification.from_pretrained(folder, **reading, **options)
        except (OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
            raise UserError(f"mining.cross_encoder: {name} cannot be loaded: {str(error).splitlines()[0]}") from error
        if missing := sorted(told["missing_keys"]):  # transformers would fill them with random numbers
            raise UserError(f"mining.cross_encoder: {name} has no weights for {missing[0]}; take it from its source")
        longest = min(tokenizer.model_max_length, longest_sequence(model.config.to_dict()), LONGEST)
        return cls(model.to(device), tokenizer, longest)

    @torch.inference_mode()
    def scores(self, anchors: Sequence[str], passages: Sequence[str]) -> Numbers:
        """The logit of each pair, (P,), fp32; pairs of like length are computed together."""
        scores_P = np.zeros(len(anchors), np.float32)
        order = sorted(range(len(anchors)), key=lambda i: (len(anchors[i]) + len(passages[i]), i))
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            encoded = self.tokenizer(
                [anchors[i] for i in some],
                [passages[i] for i in some],
                truncation="longest_first",
                max_length=self.longest,
                padding=True,
                return_tensors="pt",
            ).to(self.model.device)
            scores_P[some] = self.model(**encoded).logits[:, 0].float().cpu().numpy()
        return scores_P
