"""A loss of one's own: what a teacher scores the candidates is learnt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from matryoshka.losses import MatryoshkaLoss
from tests.composing import plain, problems
from tests.extending.additions import Addition, add, rows, train, train_tiny, write_scored_pairs
from tests.extending.test_source import SCORED

TEACHER_KL = Addition(
    python='''"""What a teacher thinks of a row's own candidates, learnt as a distribution."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn


class TeacherKL(nn.Module):
    """Mean over rows of KL(teacher || student), over the candidates that the teacher has scored.

    scale: what similarities and teacher scores are multiplied with. Source: Hinton et al. 2015, arXiv:1503.02531.
    """

    def __init__(self, scale: Annotated[float, Gt(0), "20"] = 20.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, similarity_BN: Tensor, mask_BN: Tensor | None = None, *, teacher_BN: Tensor) -> Tensor:
        """The loss of one matrix of similarities; teacher_BN is NaN for candidates of other rows."""
        unknown_BN = teacher_BN.isnan() if mask_BN is None else teacher_BN.isnan() | mask_BN
        student_BN, target_BN = (
            (self.scale * x_BN).masked_fill(unknown_BN, -torch.inf).log_softmax(1)
            for x_BN in (similarity_BN, teacher_BN)
        )
        return (target_BN.exp() * (target_BN - student_BN)).masked_fill(unknown_BN, 0).sum(1).mean()
''',
    group="loss",
    choice="teacher_kl",
    yaml="""# What a teacher scores each row's own candidates is learnt: for data with columns such as positive_teacher.
_target_: teacher_kl.TeacherKL
scale: 20.0
""",
)


@pytest.fixture
def searchpath(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write_scored_pairs(workplace / "scored.jsonl", 24)
    return add(monkeypatch, TEACHER_KL, SCORED)


def test_it_is_trained_at_every_dim(searchpath: str) -> None:
    config = plain(searchpath, "loss=teacher_kl", "loss.scale=3", "dims=[4,2]")
    loss = MatryoshkaLoss(instantiate(config["loss"]), config["dims"], config["dim_weights"])
    draw = torch.Generator().manual_seed(0)
    anchors_BD, candidates_ND = torch.randn(3, 4, generator=draw, requires_grad=True), torch.randn(6, 4, generator=draw)
    teacher_BN = torch.full((3, 6), torch.nan)
    for row in range(3):
        teacher_BN[row, row], teacher_BN[row, 3 + row] = 1.0, 0.1 * row

    nested = loss(anchors_BD, candidates_ND, None, {"teacher_BN": teacher_BN})
    nested.total.backward()

    assert loss.loss.scale == 3
    for dim in (2, 4):
        expected = 0.0
        for row in range(3):  # over its own two candidates, the others unknown
            own = [row, 3 + row]
            cosine = torch.nn.functional.cosine_similarity(anchors_BD[row, :dim], candidates_ND[own, :dim], dim=-1)
            student, target = (3 * cosine).softmax(0), (3 * teacher_BN[row, own]).softmax(0)
            expected += float((target * (target / student).log()).sum().detach()) / 3
        assert float(nested.per_dim[dim]) == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(nested.total.detach(), nested.per_dim[2] + nested.per_dim[4])
    assert anchors_BD.grad is not None and anchors_BD.grad.isfinite().all() and anchors_BD.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("words", "key", "remedy"),
    [
        (["+loss.scael=1"], "loss.scael", "did you mean loss.scale?"),
        (["loss.scale=viel"], "loss.scale", "not a valid number"),
        (["loss.scale=0"], "loss.scale", "0 is not above 0; use for example 20"),
    ],
)
def test_its_arguments_are_checked(searchpath: str, words: list[str], key: str, remedy: str) -> None:
    ((found, message),) = problems(searchpath, "loss=teacher_kl", *words)

    assert found == key
    assert remedy in message


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_tiny_encoder_comes_to_agree_with_the_teacher(searchpath: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["data=scored", "data.path=scored.jsonl", "split=same", "export=none", "loss=teacher_kl", "loss.scale=5"]

    assert train_tiny(monkeypatch, searchpath, *words, "batch_size=16", "accumulation=1", "trainer.max_epochs=20") == 0
    losses = [row["train/loss"] for row in rows("run") if "train/loss" in row]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


@pytest.mark.filterwarnings("default")
def test_data_without_its_numbers_are_refused(
    searchpath: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_tiny(monkeypatch, searchpath, "loss=teacher_kl") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "loss: TeacherKL takes teacher_BN, numbers of each candidate, and the data have no column" in said
    assert "positive_teacher; add it, let a guide give it (negatives=guide), or choose another loss" in said
    assert not Path("run").exists()


@pytest.mark.filterwarnings("default")
def test_a_teacher_without_scores_is_refused(
    searchpath: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_tiny(monkeypatch, searchpath, "loss=distilled", "loss.teacher=0.5") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "loss: DistilledLoss takes teacher_BN, numbers of each candidate, and the data have no column" in said
    assert not Path("run").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_distillation_without_a_teacher_is_trained_and_fits_a_projection(
    searchpath: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train_tiny(monkeypatch, searchpath, "loss=distilled", "projection=learned", "export=none") == 0
    assert any("train/loss/dim_8" in row for row in rows("run"))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["kl", "margin_mse"])
def test_distillation_from_the_teachers_scores_is_trained(
    searchpath: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    words = ["data=scored", "data.path=scored.jsonl", "split=same", "export=none", "loss=distilled", "loss.teacher=1"]
    assert train_tiny(monkeypatch, searchpath, *words, f"loss.teacher_kind={kind}", "pairs_at_once=2") == 0


@pytest.mark.slow
def test_the_embedded_encoder_learns_from_the_teacher(searchpath: str) -> None:
    train(searchpath, "data=scored", "data.path=scored.jsonl", "loss=teacher_kl")
    losses = [row["train/loss"] for row in rows("run") if "train/loss" in row]
    assert sum(losses[2:]) < sum(losses[:2])  # of the second epoch, and of the first


@pytest.mark.filterwarnings("default")
def test_a_projection_that_goes_down_a_loss_of_numbers_is_refused(
    searchpath: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data=scored", "data.path=scored.jsonl", "split=same", "export=none", "loss=teacher_kl"]
    assert train_tiny(monkeypatch, searchpath, *words, "projection=learned") == 2
    assert "use projection=rotation, which needs no loss" in " ".join(capsys.readouterr().err.split())
    assert not Path("run").exists()
