"""The model card: a training record as the README.md of the model's folder, with metadata for the Hub."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import jinja2
import yaml
from huggingface_hub import EvalResult, ModelCardData

from matryoshka.encoder.pretrained import EMBEDDED
from matryoshka.encoder.saved_pooling import pooling_config
from matryoshka.evaluation.result import EvaluationResult, shown_metric
from matryoshka.export.sentence_transformers import transformer_config
from matryoshka.report.card.card_tables import evaluation_tables, log_table, training_data_tables
from matryoshka.report.card.fit import by_descent, fit_rows, kept_projection, without_training
from matryoshka.report.card.hyperparameters import non_default, trained_adapter
from matryoshka.report.figures.metric_figure import shares
from matryoshka.report.markdown import fenced, plain, shortened, table
from matryoshka.report.record import TrainingRecord
from matryoshka.report.verdict import verdict

HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
ORIGINS = {EMBEDDED: "intfloat/multilingual-e5-small"}  # where an embedded encoder's weights come from
LOSSES = {"RankingLoss": "MultipleNegativesRankingLoss"}  # the names by which the Hub's users look for them
WIDGET, SNIPPET = 400, 90  # characters of a text in the widget, in code


def model_card(record: TrainingRecord) -> str:
    """The card in Markdown, ready to be written as README.md.

    Every number in it is the record's. Texts are escaped, so that none breaks the page or its metadata.
    """
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True)
    environment.undefined = jinja2.StrictUndefined
    environment.filters |= {"text": plain, "fenced": fenced, "capitalized": lambda text: text[:1].upper() + text[1:]}
    environment.globals |= {"table": table}
    untrained, tuned = record.fitted_alone or record.mixed, record.tuned
    gained = shares(tuned, record.base, given, shown_metric(tuned)) if (given := record.trained_projection) else ""
    source = files(__package__).joinpath("card.md.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        record=record,
        tuned=tuned,
        own="Mixed" if record.mixed else "Projection" if record.fitted_alone else "Tuned",
        verb="fitted" if record.fitted_alone else "trained",
        by_descent=by_descent(record),
        fit_rows=fit_rows(record) if record.fitted_alone else [],
        shares=gained,
        verdict=verdict(record),
        share_rows=_shares_of_mix(record),
        pairs=record.pairs,
        title=_title(record),
        metadata=metadata(record).to_yaml(),
        base_link=_base_link(record.base_model),
        architecture=_architecture(record),
        loss=json.dumps(_loss(record), indent=4),
        hyperparameters={} if untrained else non_default(record.config),
        projection=kept_projection(record),
        adapter={} if untrained else trained_adapter(record.config),
        config=yaml.safe_dump(
            without_training(record.config) if untrained else dict(record.config), sort_keys=False, allow_unicode=True
        ),
        **_usage(record),
        **evaluation_tables(record),
        **training_data_tables(record),
        **log_table(record),
    )


def _shares_of_mix(record: TrainingRecord) -> list[list[str]]:
    """Whose weights were mixed, and each one's share."""
    return [[plain(name), f"{share:.4g}"] for name, share in record.mixed.weights.items()] if record.mixed else []


def metadata(record: TrainingRecord) -> ModelCardData:
    """The card's front matter: base model, tags, widget, and a model-index with every metric at every dim and set."""
    tuned = record.tuned
    results = _eval_results(tuned, record.config.get("data", {}))
    sources = {**(record.config.get("sources") or {}), **(record.config.get("sets") or {})}
    for name, of in record.sets.items():
        results += _eval_results(of.tuned, sources.get(name, {}), name)
    tags = ["sentence-transformers", "sentence-similarity", "feature-extraction", "matryoshka"]
    tags.append(f"dataset_size:{record.pairs.rows}")
    if by_descent(record):
        loss = _loss(record)["loss"]
        tags += ["loss:MatryoshkaLoss", f"loss:{LOSSES.get(loss, loss)}"]
    return ModelCardData(
        base_model=_hub_name(record.base_model),
        library_name="sentence-transformers",
        metrics=[f"cosine_{name}" for name in tuned.metrics[tuned.dims[0]]],
        pipeline_tag="sentence-similarity",
        tags=[*tags, "stand-in"] if record.stand_in else tags,
        widget=_widget(record),
        model_name=_title(record),
        eval_results=results,
    )


def _eval_results(result: EvaluationResult, source: Mapping[str, Any], name: str = "") -> list[EvalResult]:
    """The model-index of one set; name: of a further one."""
    return [
        EvalResult(
            task_type="information-retrieval",
            task_name="Information Retrieval",
            dataset_type=f"{name}_dim_{dim}" if name else f"dim_{dim}",
            dataset_name=f"{name}, dim {dim}" if name else f"dim {dim}",
            dataset_revision=source.get("revision"),
            metric_type=f"cosine_{metric}",
            metric_name=f"Cosine {metric.title()}",
            metric_value=value,
        )
        for dim in result.dims
        for metric, value in result.metrics[dim].items()
    ]


def _hub_name(model: str) -> str | None:
    name = ORIGINS.get(model, model)
    return name if HUB_NAME.fullmatch(name) else None


def _base_link(model: str) -> str:
    name = _hub_name(model)
    if name is None:
        return plain(model)
    note = f" ({plain(model)}: its weights rounded to 4 bits)" if model in ORIGINS else ""
    return f"[{plain(name)}](https://huggingface.co/{name}){note}"


def _title(record: TrainingRecord) -> str:
    return f"{record.name}: SentenceTransformer based on {_hub_name(record.base_model) or record.base_model}"


def _widget(record: TrainingRecord) -> list[dict[str, Any]]:
    """Each sample's first text to be compared with the second texts of all, its own first."""
    first, second = _first_two_columns(record, WIDGET)
    return [
        {"source_sentence": text, "sentences": list(dict.fromkeys(second[i:] + second[:i]))}
        for i, text in enumerate(first)
    ]


def _first_two_columns(record: TrainingRecord, length: int) -> list[list[str]]:
    return [[shortened(row[c], length) for row in record.pairs.samples] for c in record.pairs.columns[:2]]


def _architecture(record: TrainingRecord) -> str:
    encoder = record.encoder
    dense = "".join(f"  ({i}): Dense({config})\n" for i, config in enumerate(encoder.dense, 2))
    transformer = transformer_config(encoder.max_seq_length, encoder.do_lower_case)
    return (
        "SentenceTransformer(\n"
        f"  (0): Transformer({transformer}) with Transformer model: "
        f"{encoder.architecture}\n"
        f"  (1): Pooling({pooling_config(encoder.modes, encoder.hidden_size, encoder.include_prompt)})\n"
        f"{dense}"
        f"  ({2 + len(encoder.dense)}): Normalize()\n"
        ")"
    )


def _usage(record: TrainingRecord) -> dict[str, Any]:
    """Texts for the code that shows how to use the model, as Python writes them; its width, dims, and one of these."""
    queries, documents = _first_two_columns(record, SNIPPET)
    width = record.encoder.width
    dims = [dim for dim in record.tuned.dims if dim <= width] or [width]
    texts = {"queries": repr(queries), "documents": repr(documents)}
    return {**texts, "width": width, "dims": dims, "dim": dims[len(dims) // 2]}


def _loss(record: TrainingRecord) -> dict[str, Any]:
    loss, dims = dict(record.config["loss"]), list(record.config["dims"])
    name = str(loss.pop("_target_")).rpartition(".")[2]
    weights = record.config["dim_weights"] or [1] * len(dims)
    cuts = {"cuts": "nested"} if record.config.get("cuts") == "nested" else {}
    per_step = record.config.get("dims_per_step") or -1
    shown = {"loss": name, **loss, "matryoshka_dims": dims, "matryoshka_weights": list(weights)}
    return {**shown, "n_dims_per_step": per_step, **cuts}
