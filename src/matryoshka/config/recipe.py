"""A recipe: the built parts and the plain numbers of a configuration. The one place that builds parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from annotated_types import Ge, Gt, Le
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from matryoshka.config.groups import Group, groups_of, part
from matryoshka.config.normal_form import normalised
from matryoshka.config.stand_in import stand_ins
from matryoshka.data.mixture import Mixture
from matryoshka.data.ranges import Count, Seed
from matryoshka.errors import ConfigError

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import Logger
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from matryoshka.data.doctor.doctor import Doctor
    from matryoshka.data.negatives import Negatives
    from matryoshka.data.samplers import ShuffledSampler
    from matryoshka.data.sources import Source
    from matryoshka.data.split import DevOfTrain, SameSet
    from matryoshka.encoder.adapter import Adapter
    from matryoshka.encoder.pooling import Pooling
    from matryoshka.encoder.pretrained import Pretrained
    from matryoshka.evaluation.bm25 import BM25
    from matryoshka.evaluation.evaluator import Evaluator
    from matryoshka.mining.mining import Mining
    from matryoshka.projection.projection import Projection
    from matryoshka.report.files import Exporter
    from matryoshka.training.blend import Blend
    from matryoshka.training.callbacks.checkpoint import Checkpoints

Config = Mapping[str, Any]
Precision = Literal["auto", "fp32", "bf16"]
Task = Literal["train", "project", "curve", "mine", "blend", "explain", "doctor", "plan"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The fields that training and evaluation share. config: the whole as plain values, to be written and shown."""

    data: Source = part()
    encoder: Pretrained = part()
    pooling: Pooling | None = part(optional=True)
    evaluator: Evaluator = part()
    bm25: BM25 = part()
    sources: Mapping[str, Source] = part(several=True)
    sets: Mapping[str, Source] = part(several=True)
    name: str
    baselines: list[str]
    config: Config = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe(Recipe):
    """conf/train.yaml. dims are from wide to narrow, dim_weights with them."""

    split: DevOfTrain | SameSet = part()
    doctor: Doctor = part()
    mining: Mining = part()
    projection: Projection | None = part(optional=True)
    adapter: Adapter | None = part(optional=True)
    loss: nn.Module = part()
    negatives: Callable[..., Negatives] = part("texts", "pairs")
    sampler: Callable[..., ShuffledSampler] = part("texts")
    optimizer: Callable[..., Optimizer] = part("params")
    scheduler: Callable[..., LRScheduler] = part("optimizer", "updates")
    trainer: Callable[..., pl.Trainer] = part(
        "callbacks",
        "logger",
        "max_steps",
        "num_sanity_val_steps",
        "use_distributed_sampler",
        "default_root_dir",
        "enable_checkpointing",
    )
    callbacks: Mapping[str, pl.Callback] = part(several=True)
    checkpoint: Callable[..., Checkpoints] = part("kept", "parts", "state")
    blend: Blend | None = part(optional=True)
    logger: Callable[..., Logger] | None = part("save_dir", optional=True)
    export: Exporter | None = part(optional=True)
    dims: list[int]
    batch_size: Count
    accumulation: Count
    accumulation_across_epochs: Literal["carry", "flush"]
    max_grad_norm: Annotated[float, Gt(0), Le(10**12), "1.0, or 1e9 for no clipping"]
    seed: Seed
    task: Task
    resume: bool | str
    run: str | None
    projections: list[Literal["pca", "rotation", "orthogonal", "learned"]]
    shares: list[Annotated[float, Gt(0), Le(1), "0.5"]]
    compact_vocabulary: bool
    pairs_at_once: Annotated[int, Ge(1), "{} is not at least 1; use null to keep the whole micro-batch"] | None
    tokens_at_once: Annotated[int, Ge(0), "auto, or 0 to encode each micro-batch alone"] | Literal["auto"]
    compiled_layers: bool | Literal["auto"]
    workers: Annotated[int, Ge(0), Le(1000), "0, to prepare batches in the training's own process"] | Literal["auto"]
    dim_weights: list[Annotated[float, Ge(0), Le(1_000_000), "1"]] | None
    dims_per_step: int | None
    cuts: Literal["dims", "nested"] = "dims"
    not_finite: Literal["stop", "skip"]
    skipped_at_most: Annotated[int, Ge(0), Le(10**9), "10; not_finite=stop to skip none"]
    runs: list[str] = field(default_factory=list)
    weights: list[Annotated[float, Ge(0), Le(1), "0.5"]] | None = None
    reference: dict[str, Any] = field(default_factory=dict)  # as where it is removed with ~reference

    @property
    def accelerator(self) -> str:
        """Lightning's name of the kind of device."""
        return str(self.config["trainer"].get("accelerator", "auto"))

    @property
    def devices(self) -> Any:
        """Lightning's number of devices, `auto`, or the list of their numbers."""
        return self.config["trainer"].get("devices", 1)

    @property
    def precision(self) -> str:
        """Lightning's name of the precision, or `auto` before it is decided."""
        return str(self.config["trainer"].get("precision", "auto"))

    @property
    def stand_in(self) -> tuple[str, ...]:
        """One sentence for each part of the reference that this recipe replaces; empty if it is the real one."""
        return tuple(stand_ins(self.config, self.reference))


@dataclass(frozen=True, kw_only=True)
class ComparisonRecipe:
    """The fields of conf/evaluate.yaml that compare two runs: no model is looked at, and no data."""

    name: str
    compare: list[str] | None
    metric: str
    protocol: Literal["as_is", "merged"]
    config: Config = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class EvaluationRecipe(Recipe, ComparisonRecipe):
    """conf/evaluate.yaml."""

    model: str
    precision: Precision
    dims: list[int] | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    ask: str | None


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe | ComparisonRecipe)
RECIPES: Mapping[str, type[Recipe | ComparisonRecipe]] = {
    **dict.fromkeys(get_args(Task), TrainingRecipe),
    "evaluate": EvaluationRecipe,
    "compare": ComparisonRecipe,
}


def build(config: Config, kind: type[AnyRecipe]) -> AnyRecipe:
    """The recipe that a checked configuration asks for. Raises ConfigError for a part that cannot be created."""
    config, groups = normalised(config), groups_of(kind)
    values = {item.name: config[item.name] for item in fields(kind) if item.name in config.keys() - {"config", *groups}}
    parts = {name: _built(name, config.get(name), group) for name, group in groups.items()}
    if isinstance(mixture := parts.get("data"), Mixture):
        parts["data"] = mixture.of(parts["sources"])
    return kind(**values, **parts, config=config)


def rebuilt(recipe: AnyRecipe, config: Config) -> AnyRecipe:
    """The recipe with these values in place of its own."""
    return build({**recipe.config, **config}, type(recipe))


def created(node: Config, *, later: bool = False) -> Any:
    """The part that a `_target_` makes; later: a function of the arguments that are missing."""
    return instantiate(dict(node), _convert_="all", **({"_partial_": True} if later else {}))


def _built(name: str, node: Any, group: Group) -> Any:
    if group.several:
        return {key: _built(f"{name}.{key}", inner, Group(group.given)) for key, inner in (node or {}).items()}
    if not node:
        return None
    try:
        return created(node, later=bool(group.given))
    except InstantiationException as error:
        raise ConfigError([(name, f"cannot be created: {error.__cause__ or error}")]) from error
