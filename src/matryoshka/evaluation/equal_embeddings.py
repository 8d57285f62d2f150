"""An encoder that gives every text the same embedding, of which every figure would be one of chance."""

from __future__ import annotations

import numpy as np

from matryoshka.data.tokens import TokenIds
from matryoshka.encoder.encoder import Encoder, Precision
from matryoshka.encoder.pooling import described
from matryoshka.errors import UserError
from matryoshka.evaluation.nearest import Documents

ROWS = 1024  # that are looked at at once: the first of them tell almost always
ALLOWED = {"fp32": 1e-4, "bf16": 1e-2}  # what rounding makes of equal embeddings, as a share of their length


def require_different(encoder: Encoder, ids: TokenIds, embeddings_ND: Documents, precision: Precision) -> None:
    """Raises UserError if different texts have equal embeddings, all of them."""
    if len(embeddings_ND) < 2:
        return
    first_D = np.asarray(embeddings_ND[:1, :])
    allowed = ALLOWED[precision] * float(np.linalg.norm(first_D))
    for start in range(0, len(embeddings_ND), ROWS):
        rows_SD = np.asarray(embeddings_ND[start : start + ROWS, :])
        if not (np.linalg.norm(rows_SD - first_D, axis=1) <= allowed).all():  # nor are any with NaN in them equal
            return
    if len(ids.without_copies()[0]) > 1:
        raise UserError(
            f"{encoder.name} gives {len(ids):,} texts the same embedding, by {described(encoder.pooling)} pooling, and "
            "no figure would mean anything; use pooling=last for a model that reads from left to right, pooling=mean "
            "for others, or a lower optimizer.lr if training made them so"
        )
