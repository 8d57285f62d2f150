"""A loss, a pooling or a data source of one's own: one Python file and one YAML each, and nothing else changes."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from hydra.utils import instantiate

from matryoshka.encoder import Encoder
from matryoshka.losses import MatryoshkaLoss
from tests.composing import plain, problems
from tests.tiny import tiny_encoder

LOSS = """
    from typing import Annotated

    import torch
    from annotated_types import Gt
    from torch import Tensor, nn

    class HingeLoss(nn.Module):
        def __init__(self, margin: Annotated[float, Gt(0), "0.2"] = 0.1) -> None:
            super().__init__()
            self.margin = margin

        def forward(self, similarity_BN: Tensor, mask_BN: Tensor | None = None) -> Tensor:
            rows = len(similarity_BN)
            own_B1 = similarity_BN.diagonal()[:, None]
            others_BN = (self.margin + similarity_BN - own_B1).clamp_min(0)
            return (others_BN * (1 - torch.eye(rows, similarity_BN.shape[1]))).sum() / rows
"""
POOLING = """
    import torch
    from torch import Tensor, nn

    class MiddlePooling(nn.Module):
        def __init__(self, share: float = 0.5) -> None:
            super().__init__()
            self.share = share
            self.modes = ["middle"]
            self.factor = 1

        def forward(self, hidden_TH: Tensor, lengths_S: Tensor) -> Tensor:
            starts_S = lengths_S.cumsum(0) - lengths_S
            return hidden_TH[starts_S + (lengths_S * self.share).long()]
"""
DATA = """
    from collections.abc import Iterator
    from dataclasses import dataclass
    from pathlib import Path

    from datasets import Dataset

    from matryoshka.data.retrieval_set import RetrievalSet

    @dataclass(frozen=True)
    class Lines:
        name: str
        path: str
        held_out: int = 1

        def problems(self) -> Iterator[tuple[str, str]]:
            if not Path(self.path).is_file():
                yield "path", f"{self.path} does not exist; give a file of 'question | answer' lines"

        def _pairs(self) -> list[list[str]]:
            return [line.split(" | ") for line in Path(self.path).read_text(encoding="utf-8").splitlines()]

        def training_pairs(self) -> Dataset:
            pairs = self._pairs()[self.held_out :]
            return Dataset.from_dict({"anchor": [a for a, _ in pairs], "positive": [p for _, p in pairs]})

        def retrieval_set(self) -> RetrievalSet:
            pairs = list(enumerate(self._pairs()))
            queries = {str(i): anchor for i, (anchor, _) in pairs[: self.held_out]}
            return RetrievalSet(
                self.name, queries, {str(i): text for i, (_, text) in pairs}, {i: frozenset([i]) for i in queries}
            )
"""
YAML = {
    "loss/hinge": "# No temperature to choose.\n_target_: our_losses.HingeLoss\nmargin: 0.2\n",
    "pooling/middle": "# The token in the middle.\n_target_: our_poolings.MiddlePooling\nshare: 0.5\n",
    "data/lines": "# One pair a line.\n_target_: our_data.Lines\nname: lines\npath: ???\n",
}


@pytest.fixture
def searchpath(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Files outside the checkout, found as Python and Hydra find things; the word that tells Hydra."""
    code, conf = tmp_path / "code", tmp_path / "conf"
    code.mkdir()
    for name, source in (("our_losses", LOSS), ("our_poolings", POOLING), ("our_data", DATA)):
        (code / f"{name}.py").write_text(dedent(source), encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name, text in YAML.items():
        (conf / name).parent.mkdir(parents=True)
        (conf / f"{name}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "pairs.txt").write_text("Wie? | So.\nWo? | Hier.\nWann? | Jetzt.\n", encoding="utf-8")
    monkeypatch.syspath_prepend(code)
    importlib.invalidate_caches()
    monkeypatch.chdir(tmp_path)
    return f"hydra.searchpath=[file://{conf}]"


def made(group: str, config: dict[str, Any]) -> Any:
    return instantiate(config[group], _convert_="all")


def test_a_loss_of_ones_own_is_trained_at_every_dim(searchpath: str) -> None:
    config = plain(searchpath, "loss=hinge", "loss.margin=0.3", "dims=[4,2]")
    loss = MatryoshkaLoss(made("loss", config), config["dims"], config["dim_weights"])
    embeddings_BD = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    candidates_ND = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))

    nested = loss(embeddings_BD, candidates_ND)
    nested.total.backward()

    assert loss.loss.margin == 0.3
    for dim in (2, 4):
        similarity_BN = torch.nn.functional.cosine_similarity(
            embeddings_BD[:, None, :dim], candidates_ND[None, :, :dim], dim=-1
        )
        torch.testing.assert_close(nested.per_dim[dim], loss.loss(similarity_BN).detach())
    torch.testing.assert_close(nested.total.detach(), nested.per_dim[2] + nested.per_dim[4])
    assert embeddings_BD.grad is not None and embeddings_BD.grad.abs().sum() > 0


def test_a_pooling_of_ones_own_embeds_texts(searchpath: str) -> None:
    config = plain(searchpath, "pooling=middle", "pooling.share=0", "dims=[384,64]", "export=none")
    cls = tiny_encoder(modes=("cls",))
    encoder = Encoder(cls.backbone, cls.tokenizer, made("pooling", config), max_seq_length=32)
    texts = ["das haus", "und der baum", "x"]

    # A share of 0 is the first token.
    torch.testing.assert_close(torch.as_tensor(encoder.encode(texts)), torch.as_tensor(cls.encode(texts)))


def test_a_source_of_ones_own_gives_pairs_and_a_set_to_search(searchpath: str) -> None:
    source = made("data", plain(searchpath, "data=lines", "data.path=pairs.txt"))

    pairs, held_out = source.training_pairs(), source.retrieval_set()

    assert pairs.to_dict() == {"anchor": ["Wo?", "Wann?"], "positive": ["Hier.", "Jetzt."]}
    assert held_out.queries == {"0": "Wie?"}
    assert held_out.corpus == {"0": "So.", "1": "Hier.", "2": "Jetzt."}


@pytest.mark.parametrize(
    ("words", "key", "remedy"),
    [
        (("loss=hinge", "+loss.margn=1"), "loss.margn", "did you mean loss.margin?"),
        (("loss=hinge", "loss.margin=weit"), "loss.margin", "not a valid number"),
        (("loss=hinge", "loss.margin=0"), "loss.margin", "0 is not above 0; use for example 0.2"),
        (("pooling=middle", "dims=[64]", "pooling.share=x"), "pooling.share", "not a valid number"),
        (("pooling=middle", "dims=[768]", "export=none"), "dims[0]", "use dims=[384]"),
        (("pooling=middle", "dims=[64]"), "export", "use export=none"),
        (("data=lines",), "data.path", "data.path=..."),
        (("data=lines", "data.path=none.txt"), "data.path", "give a file of 'question | answer' lines"),
        (("data=lines", "data.path=pairs.txt", "+data.held_out=1.5"), "data.held_out", "not a valid integer"),
    ],
)
def test_its_arguments_are_checked_like_any_other(
    words: tuple[str, ...], key: str, remedy: str, searchpath: str
) -> None:
    ((found, message),) = problems(searchpath, *words)

    assert found == key
    assert remedy in message


def test_a_source_that_cannot_be_made_is_a_problem_of_its_group(searchpath: str, tmp_path: Path) -> None:
    source = "import missing_package\nclass Lines:\n    def __init__(self, name, path): ...\n"
    (tmp_path / "code" / "our_broken_data.py").write_text(source, encoding="utf-8")
    importlib.invalidate_caches()
    words = ("data=lines", "data.path=pairs.txt", "data._target_=our_broken_data.Lines", "dims=[]")

    found = dict(problems(searchpath, *words))

    assert found.keys() == {"data", "dims"}
    assert "missing_package" in found["data"]
