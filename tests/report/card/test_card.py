"""The card: metadata the Hub accepts, and the record's numbers and no others."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import yaml
from huggingface_hub import EvalResult

from matryoshka.encoder.dense import Dense
from matryoshka.report.card.card import model_card
from matryoshka.report.encoder_summary import EncoderSummary
from tests.report.records import CONFIG, DIMS, METRICS, eval_results_of, metadata_of, record, result, tables
from tests.tiny import tiny_encoder


def section(card: str, heading: str) -> str:
    return card.split(f"{heading}\n", 1)[1].split("\n#", 1)[0]


def test_metadata_is_what_the_hub_reads() -> None:
    data = metadata_of(model_card(record()))

    assert data["base_model"] == "BAAI/bge-m3"
    assert data["library_name"] == "sentence-transformers"
    assert data["pipeline_tag"] == "sentence-similarity"
    assert data["metrics"] == ["cosine_accuracy@1", "cosine_ndcg@10", "cosine_map@100"]
    assert data["tags"][-3:] == [
        "dataset_size:4957",
        "loss:MatryoshkaLoss",
        "loss:MultipleNegativesRankingLoss",
    ]
    assert data["widget"][1] == {
        "source_sentence": "Wann?",
        "sentences": ["Am Ersten.", "Hier.", "Die Kasse zahlt."],
    }


def test_model_index_is_the_tuned_result_to_the_last_digit() -> None:
    shown = record()
    results = eval_results_of(model_card(shown))

    assert results == [
        EvalResult(
            task_type="information-retrieval",
            task_name="Information Retrieval",
            dataset_type=f"dim_{dim}",
            dataset_name=f"dim {dim}",
            metric_type=f"cosine_{name}",
            metric_name={"accuracy@1": "Cosine Accuracy@1", "ndcg@10": "Cosine Ndcg@10"}.get(name, "Cosine Map@100"),
            metric_value=shown.tuned.metrics[dim][name],
        )
        for dim in DIMS
        for name in METRICS
    ]


def test_tables_are_the_records_numbers() -> None:
    shown = record()
    essential, *by_dim, lengths, samples, _ = tables(model_card(shown))

    assert essential[0] == ["Dim", "ndcg@10", "map@100", "accuracy@1"]
    for row, dim in zip(essential[1:], DIMS, strict=True):
        before, after = shown.base.metrics[dim], shown.tuned.metrics[dim]
        assert row == [str(dim), *(f"{before[n]:.4f} → **{after[n]:.4f}**" for n in essential[0][1:])]
    for table, dim in zip(by_dim, DIMS, strict=True):
        before, after = shown.base.metrics[dim], shown.tuned.metrics[dim]
        assert table[1:] == [[f"cosine_{n}", f"{before[n]:.4f}", f"{after[n]:.4f}"] for n in METRICS]
    assert lengths[0] == ["", "anchor", "positive"]
    assert "mean: 20.25 tokens" in lengths[1][1]
    assert "max: 1024 tokens" in lengths[1][2]
    assert samples[1:] == [list(row.values()) for row in shown.pairs.samples]


def test_text_says_what_was_trained() -> None:
    card = model_card(record())

    for fact in (
        "# bmf: SentenceTransformer based on BAAI/bge-m3\n",
        "finetuned from [BAAI/bge-m3](https://huggingface.co/BAAI/bge-m3) on 4,957 pairs of letters",
        "- **Maximum Sequence Length:** 1024 tokens",
        "- **Output Dimensionality:** 32 dimensions, trained to be cut to 32, 16, 8",
        '- **In front of each query:** "query: "\n',
        "with Transformer model: XLMRobertaModel",
        "'pooling_mode_cls_token': True, 'pooling_mode_max_tokens': False",
        'SentenceTransformer("path/to/model", truncate_dim=16)',
        'Encoder.load("path/to/model")',
        "551 queries over 5,508 documents, ranked by cosine similarity, encoded in bf16",
        "the weights of step 19 of 40, the best by map@100 of dim_16",
        "The whole run took 1,234 seconds.",
        "- torch: 2.9.0\n",
        "kusupati2022matryoshka",
        "henderson2017efficient",
    ):
        assert fact in card
    assert "In front of each document" not in card
    assert "tand-in" not in card
    assert card.endswith("```\n")
    for snippet in re.findall(r"```python\n(.*?)```", card, flags=re.S):
        compile(snippet, "card", "exec")


def test_loss_and_configuration_can_be_read_back() -> None:
    weighted = {**CONFIG, "dim_weights": [1.0, 0.5, 0.25]}
    card = model_card(record(config=weighted))

    assert json.loads(section(card, "```json").split("```")[0]) == {
        "loss": "RankingLoss",
        "scale": 20.0,
        "direction": "positive_to_anchor",
        "matryoshka_dims": [32, 16, 8],
        "matryoshka_weights": [1.0, 0.5, 0.25],
        "n_dims_per_step": -1,
    }
    assert yaml.safe_load(section(card, "```yaml").split("```")[0]) == weighted


@pytest.mark.parametrize("saved", [19, 38, 40])
def test_the_bold_row_is_the_saved_steps(saved: int) -> None:
    log = tables(model_card(record(saved_step=saved)))[-1]

    columns = ["Epoch", "Step", "Training Loss", *(f"dim_{dim}_cosine_map@100" for dim in DIMS)]
    assert log[0] == columns
    assert [row[1].strip("*") for row in log[1:]] == ["0", "10", "19", "20", "30", "38", "40"]
    (bold,) = [row for row in log if row[0].startswith("**")]
    assert all(cell.startswith("**") and cell.endswith("**") for cell in bold)
    values = [f"{result(saved / 100).metrics[dim]['map@100']:.4f}" for dim in DIMS]
    loss = "0.0750" if saved == 40 else "-"  # step 40 has both: one row
    assert [cell.strip("*") for cell in bold] == [f"{saved / 19:.4f}", str(saved), loss, *values]
    assert log[2] == ["0.5263", "10", "0.3000", "-", "-", "-"]


def test_without_the_saved_step_no_row_is_bold() -> None:
    card = model_card(record(saved_step=39))

    assert not [row for row in tables(card)[-1] if row[0].startswith("**")]
    assert "bold row" not in card


def test_a_stand_in_is_named_first_and_tagged() -> None:
    sentences = ("embedded:e5_small is a stand-in for BAAI/bge-m3", "letters *stand in* for the card's pairs")
    card = model_card(record(stand_in=sentences, base_model="embedded:e5_small"))

    head = card.split("This is a [sentence-transformers]")[0]
    assert "> **Stand-in: embedded:e5_small is a stand-in for BAAI/bge-m3**\n" in head
    assert "> **Stand-in: letters \\*stand in\\* for the card's pairs**\n" in head
    data = metadata_of(card)
    assert "stand-in" in data["tags"]
    assert data["base_model"] == "intfloat/multilingual-e5-small"
    assert "(embedded:e5_small: its weights rounded to 4 bits) on 4,957 pairs" in card


def test_a_folder_is_no_hub_name() -> None:
    card = model_card(record(base_model="/models/my_encoder"))

    assert "base_model" not in metadata_of(card)
    assert "finetuned from /models/my_encoder on" in card


def test_the_summary_is_the_encoders() -> None:
    encoder = tiny_encoder(modes=("mean", "cls"), prompts={"query": "q: "})

    assert EncoderSummary.of(encoder) == EncoderSummary(
        "XLMRobertaModel", 32, ("mean", "cls"), 32, {"query": "q: ", "document": ""}
    )
    encoder.dense.append(Dense(64, 48))
    summary = EncoderSummary.of(encoder)
    identity = "torch.nn.modules.linear.Identity"
    config = {"in_features": 64, "out_features": 48, "bias": False, "activation_function": identity}
    assert (summary.dense, summary.width) == ((config,), 48)
    assert EncoderSummary.of(encoder, dim=24).dense == ({**config, "out_features": 24},)


def test_the_card_says_what_is_not_pooled_and_what_is_lowercased() -> None:
    summary = replace(EncoderSummary.of(tiny_encoder()), include_prompt=False, do_lower_case=True)
    card = model_card(record(encoder=summary))

    assert "'include_prompt': False" in card
    assert "'do_lower_case': True" in card


def test_dense_modules_are_listed_and_only_dims_that_are_saved_are_promised() -> None:
    encoder = tiny_encoder()
    assert "(2): Normalize()" in model_card(record(encoder=EncoderSummary.of(encoder)))
    card = model_card(record(encoder=EncoderSummary.of(encoder, dim=16)))

    assert "  (2): Dense({'in_features': 32, 'out_features': 16, 'bias': False, 'activation_function'" in card
    assert "  (3): Normalize()\n)" in card
    assert "maps texts to 16 numbers, of which the first 16, 8 may be kept" in card
    assert "16 dimensions, trained to be cut to 16, 8" in card
    assert 'SentenceTransformer("path/to/model", truncate_dim=8)' in card
    assert "It was measured with all 32 numbers and saved with the first 16." in card
