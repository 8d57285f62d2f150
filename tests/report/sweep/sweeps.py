"""A sweep to show: 18 jobs of dims, rate and scheduler, with results as an evaluation gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from matryoshka.evaluation.result import EvaluationResult
from matryoshka.sweep.result import JobResult, Sweep

WIDE, FEW = [768, 512, 256, 128, 64], [768, 256, 64]
SELECTED = "ndcg@10/dim_64"
BASE = {768: 0.567, 512: 0.517, 256: 0.450, 128: 0.408, 64: 0.304}
STAND_IN = ("embedded:e5_small for BAAI/bge-m3, because there is no CUDA GPU here",)
SPLIT = "the checkpoint is chosen on 300 dev queries and reported on 500 test queries that share no answer with them"


def measured(by_dim: Mapping[int, float], half: float = 0.03) -> EvaluationResult:
    """nDCG@10 and accuracy@1 at each dim, with intervals."""
    metrics = {dim: {"ndcg@10": value, "accuracy@1": value - 0.1} for dim, value in by_dim.items()}
    ends = {dim: {name: (v - half, v + half) for name, v in of.items()} for dim, of in metrics.items()}
    return EvaluationResult("embedded:e5_small", "german_help", 500, 939, 768, metrics, intervals=ends, clusters=480)


def gain(lr: float, scheduler: str, dims: list[int]) -> float:
    """What a job gains at 64 numbers: most by its rate, little by its scheduler, and a bit of both together."""
    rate = -0.05 * math.log(lr / 6e-5) ** 2
    shape = {"cosine": 0.004, "linear": 0.0, "constant": -0.012}[scheduler] * (1 + (lr > 9e-5))
    return 0.23 + rate + shape - 0.008 * (len(dims) == 5)


def job(
    lr: float = 5e-5, scheduler: str = "cosine", dims: list[int] = WIDE, config: Any = None, half: float = 0.03
) -> JobResult:
    """A done job of that name."""
    gained = gain(lr, scheduler, dims)
    noise = np.random.default_rng(int(lr * 1e7) + len(dims) + len(scheduler)).normal(0, 0.004, len(WIDE))
    shares = {768: 0.12, 512: 0.28, 256: 0.46, 128: 0.64, 64: 1.0}
    test = {dim: BASE[dim] + shares[dim] * gained + float(noise[WIDE.index(dim)]) for dim in dims}
    settings = {"dims": dims, "optimizer.lr": lr, "scheduler": scheduler}
    listed = ",".join(map(str, dims))
    words = ("+experiment=bmf", "+sweep=dims_lr_scheduler", f"dims=[{listed}]", f"optimizer.lr={lr}")
    return JobResult(
        name=f"dims={listed.replace(',', '-')},optimizer.lr={lr},scheduler={scheduler}",
        state="done",
        settings=settings,
        seconds=160.0 + len(dims),
        value=BASE[64] + gained,
        tuned=measured(test, half),
        base=measured({dim: BASE[dim] for dim in dims}),
        overrides=(*words, f"scheduler={scheduler}"),
        config=config,
    )


def sweep(*jobs: JobResult, keys: tuple[str, ...] = ("dims", "optimizer.lr", "scheduler"), **changes: Any) -> Sweep:
    """The jobs, best first, as a sweep."""
    ordered = sorted(jobs, key=lambda job: -job.value if job.value is not None else math.inf)
    return replace(Sweep("bmf/dims_lr_scheduler", keys, SELECTED, tuple(ordered), SPLIT, STAND_IN), **changes)


def without_result(done: JobResult, state: Any, error: str = "") -> JobResult:
    """What is left of a job that did not end well."""
    return replace(done, state=state, error=error, value=None, tuned=None, base=None, seconds=None, config=None)


def drawn_sweep() -> Sweep:
    """A search of 20 trials over rate, scale and scheduler: 11 done, 8 given up, 1 failed."""
    random, jobs = np.random.default_rng(5), []
    for i in range(20):
        lr, scale = (float(f"{math.exp(random.uniform(*map(math.log, ends))):.4g}") for ends in ((1e-5, 2e-4), (5, 80)))
        scheduler = str(random.choice(["cosine", "linear", "constant"]))
        words = f"trial_{i:03d},optimizer.lr={lr},loss.scale={scale},scheduler={scheduler}"
        done = job(lr, scheduler)
        value = (done.value or 0.0) - 0.02 * math.log(scale / 20) ** 2
        settings = {"optimizer.lr": lr, "loss.scale": scale, "scheduler": scheduler}
        jobs.append(replace(done, name=words, settings=settings, value=value))
    for i in range(6, 20, 2):
        jobs[i] = without_result(jobs[i], "pruned")
    jobs[9] = without_result(jobs[9], "pruned")
    jobs[3] = without_result(jobs[3], "failed", "out of memory: lower batch_size")
    return sweep(*jobs, keys=("optimizer.lr", "loss.scale", "scheduler"), name="bmf/optuna")


def whole_sweep() -> Sweep:
    """All jobs done but two: one failed, one killed."""
    grid = product((WIDE, FEW), (2e-5, 5e-5, 1e-4), ("cosine", "linear", "constant"))
    jobs = [job(lr, scheduler, dims) for dims, lr, scheduler in grid]
    jobs[3] = without_result(jobs[3], "failed", "out of memory: lower batch_size")
    jobs[-1] = without_result(jobs[-1], "running")
    return sweep(*jobs)
