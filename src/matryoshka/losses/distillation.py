"""Distillation beside the ranking loss: from the full width of the same embeddings, and from a teacher's scores."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from matryoshka.losses.candidates import left_out, own_positives
from matryoshka.losses.ranking import Direction, RankingLoss, Scale, sides

Weight = Annotated[float, Ge(0), Le(1_000_000), "1"]
TeacherScale = Annotated[float, Gt(0), Le(10_000), "1"]


def divergence(scores_BN: Tensor, target_BN: Tensor, out_BN: Tensor | None = None) -> Tensor:
    """KL(softmax(target) || softmax(scores)) of each row, over the candidates that are not left out; 0 for none.

    Of a stack of scores (K, B, N) it is (K, B). Source: Hinton et al. 2015, arXiv:1503.02531.
    """
    if out_BN is not None:
        scores_BN, target_BN = (x_BN.masked_fill(out_BN, -torch.inf) for x_BN in (scores_BN, target_BN))
    student_BN, teacher_BN = scores_BN.log_softmax(-1), target_BN.log_softmax(-1)
    if out_BN is not None:
        student_BN, teacher_BN = (x_BN.masked_fill(out_BN, 0.0) for x_BN in (student_BN, teacher_BN))
    return (teacher_BN.exp() * (teacher_BN - student_BN)).sum(-1)


def known_divergence(scores_BN: Tensor, teacher_BN: Tensor, out_BN: Tensor | None = None) -> Tensor:
    """Mean divergence from a teacher over the rows with two known candidates or more; 0 if there are none.

    Unknown is what is NaN in teacher_BN or left out.
    """
    unknown_BN = _unknown(teacher_BN, out_BN)
    counts_B = (~unknown_BN).sum(-1) > 1
    rows_B = divergence(scores_BN, teacher_BN, unknown_BN).masked_fill(~counts_B, 0.0)
    return rows_B.sum(-1) / counts_B.sum().clamp_min(1)


def margin_error(similarity_BN: Tensor, teacher_BN: Tensor, out_BN: Tensor | None = None) -> Tensor:
    """Mean over known negatives of ((s_pos - s_neg) - (t_pos - t_neg))^2; 0 if there are none.

    A negative is known if its score and that of its row's positive are. Source: Hofstätter et al. 2020 (Margin-MSE),
    arXiv:2010.02666.
    """
    unknown_BN, own_BN = _unknown(teacher_BN, out_BN), own_positives(teacher_BN)
    left_BN = unknown_BN | own_BN | (unknown_BN & own_BN).any(-1, keepdim=True)
    error_BN = similarity_BN - teacher_BN.masked_fill(unknown_BN, 0.0)
    own_error_B = error_BN.diagonal(dim1=-2, dim2=-1)
    squares_BN = (own_error_B.unsqueeze(-1) - error_BN).square().masked_fill(left_BN, 0.0)
    return squares_BN.sum((-2, -1)) / (~left_BN).sum().clamp_min(1)


class DistilledLoss(nn.Module):
    """The ranking loss, and what each dim learns from the full width and from a teacher, by their weights.

    scale, direction: of the ranking loss. full_width: weight of the divergence from the softmax that the full width
    has over each row's candidates, in the same directions; nothing at the widest dim. teacher: weight of learning the
    scores in teacher_BN, by anchor. teacher_kind: `kl`, the divergence over a row's known candidates, similarities by
    `scale`; `margin_mse`, the squared error of known margins between similarities. teacher_scale: what the teacher's
    scores are multiplied with. The full width is a target alone: it gets no gradient from those that learn from it.
    """

    stacked = True

    def __init__(
        self,
        scale: Scale = 20.0,
        direction: Direction = "anchor_to_positive",
        full_width: Weight = 1.0,
        teacher: Weight = 0.0,
        teacher_kind: Literal["kl", "margin_mse"] = "kl",
        teacher_scale: TeacherScale = 1.0,
    ) -> None:
        super().__init__()
        self.ranking = RankingLoss(scale, direction)
        self.full_width, self.teacher = full_width, teacher
        self.teacher_kind, self.teacher_scale = teacher_kind, teacher_scale
        self.needs = frozenset({"teacher_BN"} if teacher else ())

    def forward(
        self,
        similarity_BN: Tensor,
        mask_BN: Tensor | None = None,
        *,
        full_BN: Tensor,
        teacher_BN: Tensor | None = None,
    ) -> Tensor:
        """The loss of one matrix of similarities or of a stack. teacher_BN: NaN is unknown; only read with a weight."""
        scale = self.ranking.scale
        total: Tensor = self.ranking(similarity_BN, mask_BN)
        if self.full_width:
            matrices = scale * similarity_BN, scale * full_BN, mask_BN
            rows = [
                divergence(scores_BN, target_BN, left_out(target_BN, out_BN)).mean(-1)
                for scores_BN, target_BN, out_BN in sides(self.ranking.direction, *matrices)
            ]
            total = total + self.full_width * torch.stack(rows).mean(0)
        if self.teacher:
            if teacher_BN is None:
                raise ValueError(f"teacher={self.teacher} takes teacher_BN, scores of the candidates")
            known, out_BN = self.teacher_scale * teacher_BN, left_out(teacher_BN, mask_BN)
            kl = self.teacher_kind == "kl"
            of_teacher = known_divergence if kl else margin_error
            total = total + self.teacher * of_teacher(scale * similarity_BN if kl else similarity_BN, known, out_BN)
        return total


def _unknown(teacher_BN: Tensor, out_BN: Tensor | None) -> Tensor:
    return teacher_BN.isnan() if out_BN is None else teacher_BN.isnan() | out_BN
