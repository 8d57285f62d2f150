"""The model card: a training record as the README.md of the model's folder, with the Hub's metadata on top."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
import yaml
from huggingface_hub import EvalResult, ModelCardData

from matryoshka.encoder.pretrained import EMBEDDED
from matryoshka.export.sentence_transformers import pooling_config, transformer_config
from matryoshka.report.hyperparameters import non_default
from matryoshka.report.record import TrainingRecord

ESSENTIAL = ("ndcg@10", "mrr@10", "map@100", "accuracy@1", "accuracy@10", "recall@10")
HUB_NAMES = {EMBEDDED: "intfloat/multilingual-e5-small"}  # where the weights of an embedded encoder come from
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
LOSS_TAGS = {"RankingLoss": "MultipleNegativesRankingLoss"}  # the names by which the Hub's users look for them
SAMPLE_LENGTH = 1000  # characters of a sample text


def model_card(record: TrainingRecord) -> str:
    """The card in Markdown. Every number in it is the record's; texts are escaped, so no text can break the page."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.filters |= {"text": plain, "code": code_span, "fenced": fenced}
    environment.globals |= {"table": table}
    template = environment.from_string(files(__package__).joinpath("card.md.j2").read_text(encoding="utf-8"))
    metric, _, selected_dim = record.selected.partition("/")
    base = _hub_name(record.base_model)
    return template.render(
        record=record,
        title=_title(record),
        dims=record.tuned.dims,
        metadata=metadata(record).to_yaml(),
        base_link=f"[{plain(base)}](https://huggingface.co/{base})" if base else plain(record.base_model),
        selected_name=metric,
        selected_dim=selected_dim,
        architecture=_architecture(record),
        usage=_usage(record),
        loss=json.dumps(_loss(record), indent=4),
        hyperparameters=non_default(record.config),
        config=yaml.safe_dump(dict(record.config), sort_keys=False, allow_unicode=True),
        **_evaluation(record),
        **_training_data(record),
        **_log(record),
    )


def metadata(record: TrainingRecord) -> ModelCardData:
    """The card's front matter: base model, tags, widget and a model-index with every metric at every dim."""
    tuned = record.tuned
    loss = str(record.config["loss"]["_target_"]).rpartition(".")[2]
    results = [
        EvalResult(
            task_type="information-retrieval",
            task_name="Information Retrieval",
            dataset_type=f"dim_{dim}",
            dataset_name=f"dim {dim}",
            metric_type=f"cosine_{name}",
            metric_name=f"Cosine {name.title()}",
            metric_value=value,
        )
        for dim in tuned.dims
        for name, value in tuned.metrics[dim].items()
    ]
    tags = ["sentence-transformers", "sentence-similarity", "feature-extraction", "matryoshka"]
    tags += [f"dataset_size:{record.pairs.rows}", "loss:MatryoshkaLoss", f"loss:{LOSS_TAGS.get(loss, loss)}"]
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


def plain(text: object) -> str:
    """Text as Markdown shows it literally, on one line, also in a table's cell."""
    line = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]#|~$])", r"\\\1", line)


def code_span(text: str) -> str:
    """Text as inline code, spaces at its ends kept."""
    return f"<code>{plain(text) + ' ' * (len(text) - len(text.rstrip()))}</code>"


def fenced(content: str, language: str = "") -> str:
    """A code block whose fence is longer than any in the content."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", content)), default=0))
    return f"{fence}{language}\n{content.rstrip()}\n{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "r") -> str:
    """A Markdown table; its cells are Markdown already."""
    rule = {"l": ":---", "c": ":---:", "r": "---:"}[align]
    lines = [header, [rule] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _title(record: TrainingRecord) -> str:
    return f"{record.name}: SentenceTransformer based on {_hub_name(record.base_model) or record.base_model}"


def _hub_name(model: str) -> str | None:
    model = HUB_NAMES.get(model, model)
    return model if HUB_NAME.fullmatch(model) else None
