"""A choice of negatives of one's own: what a file knows to be alike is no negative."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from matryoshka.config.recipe import created
from matryoshka.data.equal_texts import text_numbers
from tests.composing import plain, problems
from tests.extending.additions import Addition, add, rows, train, train_tiny

TOO_SIMILAR = Addition(
    python='''"""False negatives by a matrix of similarities, as a better model has found them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor

from matryoshka.data.negatives import KnownPositives
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

    from matryoshka.data.samplers import BatchSummary


class TooSimilar(KnownPositives):
    """Besides, a candidate is no negative if it is more similar to the row's own positive than `above`.

    path: of a file by np.savez(path, passages=..., similarity=...), with every positive and negative and their square
    matrix. Raises DataError for a file that has not all of them. Source: Qu et al. 2021 (RocketQA), arXiv:2010.08191.
    """

    def __init__(
        self,
        texts: Sequence[Sequence[int]],
        pairs: Dataset,
        path: str,
        above: Annotated[float, Ge(-1), Le(1), "0.9"] = 0.9,
    ) -> None:
        super().__init__(texts, pairs)
        try:
            with np.load(path) as file:
                place = {str(passage): i for i, passage in enumerate(file["passages"])}
                self.alike_PP = torch.from_numpy(file["similarity"] > above)
            columns = [pairs[name][:] for name in pairs.column_names if name != "anchor"]
            self.places_RC = torch.tensor([[place[text] for text in row] for row in zip(*columns, strict=True)])
        except (OSError, KeyError, ValueError) as error:
            raise DataError(f"negatives.path: {path} has not the passages and their similarities: {error}") from error

    def masks(self, batches: BatchSummary) -> bool:
        """Any batch may have some."""
        return True

    def mask(self, rows: Sequence[int]) -> Tensor | None:
        """By the file, and by the training pairs."""
        places_BC = self.places_RC[list(rows)]
        mask_BN = self.alike_PP[places_BC[:, 0][:, None], places_BC.T.reshape(-1)]
        mask_BN[:, : len(rows)].fill_diagonal_(False)
        known_BN = super().mask(rows)
        return mask_BN if known_BN is None else mask_BN | known_BN
''',
    group="negatives",
    choice="too_similar",
    yaml="""# Where a better model has scored the passages: those that are nearly the row's own answer are no negatives.
_target_: too_similar.TooSimilar
path: ???
above: 0.9
""",
)
WORDS = ("negatives=too_similar", "negatives.path=similarity.npz", "loss=ranking")


@pytest.fixture
def searchpath(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return add(monkeypatch, TOO_SIMILAR)


def write_similarities(passages: list[str], value: float | None = None) -> np.ndarray:
    drawn = np.random.default_rng(0).uniform(-1, 1, (len(passages), len(passages)))
    similarity = drawn if value is None else np.full_like(drawn, value)
    np.savez("similarity.npz", passages=np.array(passages), similarity=similarity)
    return similarity


def test_its_mask_is_that_of_a_loop(searchpath: str) -> None:
    texts = {"anchor": ["a", "b", "c"], "positive": ["p", "q", "p"], "negative_1": ["x", "y", "q"]}
    pairs, passages = Dataset.from_dict(texts), ["q", "p", "y", "x"]
    similarity = write_similarities(passages)
    config = plain(searchpath, *WORDS, "negatives.above=0.1")["negatives"]
    tokens = Dataset.from_dict(
        {column: [[ord(text)] for text in column_texts] for column, column_texts in texts.items()}
    )
    negatives = created(config, later=True)(texts=text_numbers(tokens, pairs), pairs=pairs)

    for batch in ([0, 1, 2], [2, 0], [1]):
        candidates = [texts[column][row] for column in ("positive", "negative_1") for row in batch]
        expected = []
        for i, row in enumerate(batch):
            own = passages.index(texts["positive"][row])
            expected.append(
                [
                    n != i and (bool(similarity[own, passages.index(text)] > 0.1) or text == texts["positive"][row])
                    for n, text in enumerate(candidates)
                ]
            )
        assert negatives.mask(batch).tolist() == expected


@pytest.mark.parametrize(
    ("words", "key", "remedy"),
    [
        (["+negatives.abvoe=1"], "negatives.abvoe", "did you mean negatives.above?"),
        (["negatives.above=2"], "negatives.above", "use for example 0.9"),
        (["+negatives.pairs=3"], "negatives.pairs", "is set by the run itself; remove it"),
        (["negatives.path=???"], "negatives.path", "negatives.path=..."),
    ],
)
def test_its_arguments_are_checked(searchpath: str, words: list[str], key: str, remedy: str) -> None:
    ((found, message),) = problems(searchpath, *WORDS, *words)

    assert found == key
    assert remedy in message


def losses(run: str = "run") -> list[float]:
    return [row["train/loss"] for row in rows(run) if "train/loss" in row]


def passages_of(path: str) -> list[str]:
    return list(dict.fromkeys(Dataset.from_json(path)["positive"]))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_where_all_passages_are_alike_the_tiny_encoder_has_no_negatives_and_no_loss(
    searchpath: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_similarities(passages_of("train.jsonl"), 0.95)
    for above, learns in ((0.9, False), (0.99, True)):
        words = [f"negatives.above={above}", f"hydra.run.dir=run_{above}", "export=none"]
        assert train_tiny(monkeypatch, searchpath, *WORDS, *words) == 0
        assert all((loss > 0) == learns for loss in losses(f"run_{above}"))


@pytest.mark.filterwarnings("default")
def test_a_file_without_the_passages_is_refused(
    searchpath: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_similarities(["another passage"])
    assert train_tiny(monkeypatch, searchpath, *WORDS) == 2
    assert "negatives.path: similarity.npz has not the passages" in capsys.readouterr().err
    assert train_tiny(monkeypatch, searchpath, *WORDS, "negatives.path=none.npz") == 2
    assert not Path("run").exists()


@pytest.mark.slow
def test_the_embedded_encoder_is_trained_with_fewer_negatives(searchpath: str) -> None:
    write_similarities(passages_of("train.jsonl"))
    train(searchpath, *WORDS, "negatives.above=0", "hydra.run.dir=fewer", "export=none")
    train("hydra.run.dir=all", "export=none")
    assert 0 < losses("fewer")[0] < losses("all")[0]  # the first batch is the same, its sum of wrong answers is smaller
