"""What the trials by force count is what their page shows; the trials themselves are tried in `make torture`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.torture import run_all
from scripts.torture.page import TRIALS, Outcome, Trial, page

NO_SUCH = Trial("no_such_trial", 0, "nothing", "Nothing.")


def test_the_page_has_each_count_and_fact(tmp_path: Path) -> None:
    record = tmp_path / "kill.json"
    record.write_text(json.dumps({"name": "kill", "tried": 1060, "lost": 3, "facts": ["7 were killed twice."]}))
    replace(Outcome.read(TRIALS[0], record), date="2030-01-02").write(record)

    text = page([Outcome.read(TRIALS[0], record)])

    assert "| kill | runs ended by SIGKILL at a random moment | 1,060 | 3 |" in text
    assert "- 7 were killed twice." in text
    assert "2030-01-02" in text


@pytest.mark.parametrize("outcome", [Outcome(NO_SUCH, tried=2, lost=1), Outcome(NO_SUCH, broken=True)])
def test_a_loss_or_a_broken_trial_fails_the_whole(
    outcome: Outcome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["run_all", "--output", str(tmp_path / "page.md")])
    monkeypatch.setattr(run_all, "TRIALS", (NO_SUCH,))
    monkeypatch.setattr(run_all, "RECORDS", tmp_path)
    monkeypatch.setattr(run_all, "outcome_of", lambda trial: outcome)
    outcome.write(tmp_path / "no_such_trial.json")

    with pytest.raises(SystemExit) as end:
        run_all.main()

    assert end.value.code == 1
    assert outcome.line in capsys.readouterr().out
    assert "## no_such_trial" in (tmp_path / "page.md").read_text()


def test_a_trial_that_leaves_no_count_is_called_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_all, "RECORDS", tmp_path)
    assert run_all.outcome_of(NO_SUCH).broken
