"""What is said of the measures, and what is advised on either side of each threshold."""

from __future__ import annotations

import pytest

from matryoshka.training.explanation import findings as module
from matryoshka.training.explanation.batches import BatchMeasures
from matryoshka.training.explanation.drift import Drift
from matryoshka.training.explanation.findings import Finding, findings, levers_in_use
from matryoshka.training.explanation.margins import Margin

GOOD = {"test": Drift(0.7, 0.7), "words": Drift(0.99, 0.95), "more": Drift(0.98, 0.99)}
COSINES = {8: {8: 1.0, 4: 0.5}, 4: {8: 0.5, 4: 1.0}}
MARGINS = {8: Margin(0.2, 0.1), 4: Margin(0.1, 0.2)}
FINE = BatchMeasures(3, 12, 0.01, 0.5, 0.5, COSINES)


def found(**changes: object) -> dict[str, Finding]:
    given: dict[str, object] = {"drift": GOOD, "further": ["words", "more"], "before": MARGINS, "after": MARGINS}
    given |= {"batches": FINE, **changes}
    return {finding.measure: finding for finding in findings(**given)}  # type: ignore[arg-type]


def test_where_no_threshold_is_passed_there_is_nothing_to_do() -> None:
    said = found()

    assert list(said) == ["drift", "margins", "negatives", "batches", "gradients"]
    assert all(str(finding).endswith(": nothing to do") for finding in said.values())
    assert "documents of the further set words" in said["drift"].said and "0.950" in said["drift"].said


@pytest.mark.parametrize(
    ("changes", "measure", "figure", "levers"),
    [
        ({"drift": {**GOOD, "more": Drift(0.949, 0.99)}}, "drift", "0.949", module.AGAINST_DRIFT),
        (
            {"after": {8: Margin(0.2, 0.1), 4: Margin(0.3, 0.22)}},
            "margins",
            "22.0% of the queries, 20.0% before",
            module.AGAINST_LOST_MARGINS,
        ),
        ({"batches": BatchMeasures(3, 12, 0.02, 0.5, 0.5, COSINES)}, "negatives", "2.00%", ("negatives=guide",)),
        ({"batches": BatchMeasures(3, 12, 0, 0.1, 0.6, COSINES)}, "batches", "60%", module.AGAINST_EASY_BATCHES),
        ({"batches": BatchMeasures(3, 12, 0, 0.6, 0.1, COSINES)}, "batches", "60%", module.AGAINST_EASY_BATCHES),
        (
            {"batches": BatchMeasures(3, 12, 0, 0, 0, {8: {8: 1, 4: -0.1}, 4: {8: -0.1, 4: 1}})},
            "gradients",
            "dims 8 and 4 have a cosine of -0.100",
            module.AGAINST_CONFLICT,
        ),
    ],
)
def test_beyond_a_threshold_the_figure_and_the_levers_are_named(
    changes: dict[str, object], measure: str, figure: str, levers: tuple[str, ...]
) -> None:
    said = found(**changes)

    assert {name for name, finding in said.items() if finding.levers} == {measure}
    assert figure in said[measure].said
    assert said[measure].levers == levers
    assert str(said[measure]).endswith(f": try {' or '.join(levers)}")


def test_the_widest_dim_is_not_narrow_unless_it_is_the_only_one() -> None:
    lost = {8: Margin(0.1, 0.4), 4: MARGINS[4]}

    assert not found(after=lost)["margins"].levers
    assert found(before={8: MARGINS[8]}, after={8: lost[8]})["margins"].levers


def test_without_a_further_set_the_test_set_is_told_and_nothing_advised() -> None:
    said = found(further=[])["drift"]

    assert "sets=..." in said.said and not said.levers


def test_of_what_was_not_measured_nothing_is_said() -> None:
    assert found(drift={}, before={}, after={}, batches=None) == {}


def test_what_is_in_use_is_not_advised() -> None:
    drift = {"words": Drift(0.5, 0.9)}
    config = {
        "blend": {"_target_": "matryoshka.training.blend.Blend"},
        "negatives": {"_target_": "matryoshka.data.guide.Guide"},
        "projection": None,
        "loss": {"_target_": "matryoshka.losses.ranking.RankingLoss"},
        "callbacks": {"average": {"_target_": "matryoshka.training.callbacks.averages.MovingAverage"}},
    }
    in_use = levers_in_use(config)

    assert in_use == {"blend=start", "negatives=guide", "callbacks=[default,moving_average]"}
    assert found(drift=drift, in_use=in_use)["drift"].levers == ("a lower optimizer.lr",)
    many = BatchMeasures(3, 12, 0.5, 0, 0, COSINES)
    assert found(batches=many, in_use=in_use)["negatives"].levers == ("another setting of what is in use",)
    assert levers_in_use({}) == frozenset()
