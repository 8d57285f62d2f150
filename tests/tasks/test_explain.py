"""task=explain and the section on what training changed, through the command line's own path."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml

from matryoshka.data.sources import PairFiles
from matryoshka.encoder.encoder import Encoder
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.evaluation import embeddings
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.extending.additions import train_tiny
from tests.real_pairs import write_pairs
from tests.tiny import tiny_encoder

MORE = "+sets.more={_target_: matryoshka.data.sources.PairFiles, name: more, train: null, evaluation: evaluation.jsonl}"
MEASURES = ["drift", "margins", "negatives", "batches", "gradients"]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    SentenceTransformersFolder().save(tiny_encoder(dropout=0.1), tmp_path / "tiny")
    write_pairs(tmp_path, train=24, evaluation=12)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def read(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def explain(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    return train_tiny(
        monkeypatch, "task=explain", *(words or ("run=run",)), "hydra.run.dir=why", "dims=[16,4]", "batch_size=3"
    )


def drift_by_hand(before: Encoder, after: Encoder) -> tuple[float, float]:
    data = PairFiles("more", None, "evaluation.jsonl").retrieval_set()
    sides = []
    for texts, prompt in ((data.queries, "query"), (data.corpus, "document")):
        distinct = list(dict.fromkeys(texts.values()))
        x, y = (torch.as_tensor(of.encode(distinct, prompt=prompt, normalize=False)) for of in (before, after))  # type: ignore[arg-type]
        sides.append(F.cosine_similarity(x, y).mean().item())
    return sides[0], sides[1]


def test_a_run_says_what_it_changed_without_encoding_anything_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encoded: list[int] = []
    encode = embeddings._encode

    def counting(encoder: Any, batches: Sequence[Any], *rest: Any) -> Any:
        encoded.extend(len(batch.texts) for batch in batches)
        return encode(encoder, batches, *rest)

    monkeypatch.setattr(embeddings, "_encode", counting)
    assert train_tiny(monkeypatch, MORE, "projection=rotation") == 0
    said, with_it = capsys.readouterr().out, sum(encoded)

    told = read("run/run.json")["explanation"]
    assert list(told["drift"]) == ["test", "more"] and told["batches"] is None
    assert told["drift"]["more"] == told["drift"]["test"]  # the same texts
    assert told["drift"]["more"]["queries"] < 0.95
    assert list(told["after"]) == ["32", "8"]
    by_measure = {finding["measure"]: finding for finding in told["findings"]}
    assert list(by_measure) == ["drift", "margins"]
    assert "blend=start" in by_measure["drift"]["levers"]
    assert "   drift  " in said and "of the further set more" in said
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert "<h2>What training changed</h2>" in page and "callbacks=[default,moving_average]" in page

    monkeypatch.setattr("matryoshka.tasks.explaining._reported", lambda data: {})
    monkeypatch.setenv("MATRYOSHKA_CACHE", "other_cache")
    encoded.clear()
    assert train_tiny(monkeypatch, MORE, "projection=rotation", "hydra.run.dir=without") == 0
    assert sum(encoded) == with_it
    assert read("without/run.json")["explanation"] is None
    assert "What training changed" not in Path("without/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("projection", ["none", "rotation"])
def test_a_finished_run_is_explained_from_its_folder_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], projection: str
) -> None:
    assert train_tiny(monkeypatch, MORE, f"projection={projection}") == 0
    own = read("run/run.json")["explanation"]
    capsys.readouterr()

    assert explain(monkeypatch) == 0
    said, told = capsys.readouterr().out, read("why/explanation.json")
    assert [finding["measure"] for finding in told["findings"]] == MEASURES
    assert set(told["drift"]) == {"dev", "test", "more", "training pairs"}
    for name in ("test", "more"):  # the model is saved and read between the two
        assert told["drift"][name] == pytest.approx(own["drift"][name], abs=1e-5)
    for part in ("before", "after"):
        for dim, margin in own[part].items():
            assert told[part][dim] == pytest.approx(margin, abs=1e-5)
    assert told["batches"]["rows"] > 12
    assert list(told["batches"]["cosines"]) == ["32", "8"]
    assert "negative" in said and "try" in said
    page = Path("why/explanation.html").read_text(encoding="utf-8")
    assert "<svg" in page and "pull against each other" in page and "src=" not in page
    assert not Path("why/config.yaml").exists() and not Path("why/model").exists()
    if projection == "none":
        by_hand = drift_by_hand(Pretrained("tiny").load(None), Pretrained("run").load(None))
        assert (told["drift"]["more"]["queries"], told["drift"]["more"]["documents"]) == pytest.approx(
            by_hand, abs=1e-5
        )


def test_a_run_with_a_guide_has_no_false_negatives_left_and_a_cut_model_is_compared_at_its_dims(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert train_tiny(monkeypatch, "negatives=guide", "export.dim=16", "dims=[32,16,8]") == 0

    assert explain(monkeypatch) == 0
    told = read("why/explanation.json")
    assert list(told["after"]) == list(told["batches"]["cosines"]) == ["16", "8"]
    assert told["batches"]["false_negatives"] < 0.2


def test_a_run_of_an_older_version_lacks_keys_and_has_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert train_tiny(monkeypatch) == 0
    path = Path("run/config.yaml")
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in ("run", "blend", "not_finite"):
        del config[key]
    path.write_text(yaml.safe_dump({**config, "gone": 1}), encoding="utf-8")

    assert explain(monkeypatch) == 0


def test_what_is_no_finished_run_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(run: str) -> str:
        assert explain(monkeypatch, run) == 2
        assert not Path("why").exists()
        return " ".join(capsys.readouterr().err.split())

    assert "use task=explain run=<folder of a finished run>" in refused("run=null")
    assert "run=nowhere: there is no such folder" in refused("run=nowhere")
    Path("run").mkdir()
    assert "config.yaml is missing" in refused("run=run")
    Path("run/config.yaml").write_text("- no\n")
    assert "run/config.yaml is no configuration" in refused("run=run")
    Path("run/config.yaml").write_text("task: project\n")
    assert "is of task=project, which trains no encoder" in refused("run=run")
    Path("run/config.yaml").write_text("task: train\n")
    assert "is not finished (run.json is missing)" in refused("run=run")
    Path("run/run.json").write_text("{}")
    assert "kept no model" in refused("run=run")
    Path("run/model").mkdir()
    Path("run/model/config.json").write_text("{}")
    Path("run/config.yaml").write_text(
        "data: {_target_: matryoshka.data.sources.PairFiles, name: x, train: train.jsonl, evaluation: gone.jsonl}"
    )
    assert "run/config.yaml: data.evaluation" in refused("run=run")
