"""What is wrong with a suite is said before anything is read, all at once."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest

from tests.composing import composed, plain, problems

MODEL = "model=embedded:e5_small"


def test_the_sets_of_the_package_are_those_of_a_suite_unless_others_are_chosen() -> None:
    assert list(plain("data=suite", MODEL, primary="evaluate")["sets"]) == ["german_help", "general"]
    assert list(composed("data=suite", "sets=[nano,general]", primary="evaluate").sets)[-1] == "general"
    assert plain(MODEL, primary="evaluate")["sets"] in (None, {})


def test_nano_has_its_thirteen_sets_in_two_languages() -> None:
    english, german = (composed(f"sets={name}").sets for name in ("nano", "nano_german"))
    assert len(english) == len(german) == 13
    assert {f"{name}_de" for name in english} == set(german)
    assert {node.dataset for node in english.values()} == {f"zeta-alpha-ai/{name}" for name in english}
    assert {node.split for node in german.values()} == set(english)


@pytest.mark.parametrize(
    ("words", "key", "said"),
    [
        (["data.names=[generl]"], "data.names[0]", "'generl' is none of the sets; did you mean general?"),
        (["data.names=[x]"], "data.names[0]", "there are german_help, general; sets=... chooses others"),
        (["data.names=[general,general]"], "data.names[1]", "'general' is given twice"),
        (["data.names=[]"], "data.names", "use null for all of german_help, general"),
        (["sets=none"], "sets", "use sets=embedded"),
        (["ask=wo?"], "ask", "ask one of them"),
        (["+data.nmaes=[x]"], "data.nmaes", "did you mean data.names?"),
        (
            ["+sets.mean={_target_:matryoshka.data.hub_beir.HubBeir,name:m,dataset:a/b}"],
            "sets.mean",
            "use another name",
        ),
    ],
)
def test_a_suite_that_cannot_be_measured(
    words: list[str], key: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    ((found, message),) = problems("data=suite", MODEL, *words, primary="evaluate")

    assert found == key
    assert said in message


def test_a_suite_is_nothing_to_train_on() -> None:
    ((key, message),) = problems("data=suite")
    assert (key, "sets=..." in message) == ("data", True)


def test_all_sets_that_are_out_of_reach_are_named_at_once_and_only_those_that_are_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    found = problems("data=suite", "sets=nano", "data.names=[NanoNQ,NanoFEVER]", MODEL, primary="evaluate")
    assert {key for key, _ in found} == {"sets.NanoNQ.dataset", "sets.NanoFEVER.dataset"}
    assert len(problems("sets=nano")) == 13
