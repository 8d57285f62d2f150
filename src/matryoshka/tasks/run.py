"""What surrounds a training: its processes, where it starts, its first lines, its memory, trackers and checkpoints."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from matryoshka.config.recipe import TrainingRecipe
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.memory.limits import shortage_explained
from matryoshka.processes.together import from_first, is_first, leave
from matryoshka.report import files
from matryoshka.report.environment.environment import write_environment
from matryoshka.report.terminal import lines
from matryoshka.tasks.adapting import finish_adapter, put_adapter
from matryoshka.tasks.baselines import Before, measure_before, measure_sets
from matryoshka.tasks.beginning import begun, decided
from matryoshka.tasks.blending import Blending, keep_start
from matryoshka.tasks.explaining import StartOfTraining
from matryoshka.tasks.first_lines import announce, memory_limits
from matryoshka.tasks.guiding import prepare_guide
from matryoshka.tasks.hub_commits import loaded
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.not_finite import step_kept
from matryoshka.tasks.outcome import restore_best, training_record, what_to_deploy, write
from matryoshka.tasks.projecting import put_projection
from matryoshka.tasks.start_point import StartPoint
from matryoshka.tasks.step_choice import StepChoice
from matryoshka.tasks.trainer import Training, closed_if_failed, make_loggers, make_module, make_training, training_plan
from matryoshka.tasks.vocabulary import Vocabulary
from matryoshka.training.blend import BlendOutcome
from matryoshka.training.checkpoints.kept import Best


class Run:
    """One training in a folder. finished: the selecting metric of a run that needs nothing more, else None.

    recipe: with what was decided before the start: precision, and the commits of hub models and data that were read.
    """

    def __init__(self, recipe: TrainingRecipe, folder: Path) -> None:
        self.recipe = recipe
        self.folder = folder
        self.began = time.perf_counter()
        self.blend: BlendOutcome | None = None
        self.stack = ExitStack()

    def __enter__(self) -> Run:
        """Prepare the device; join the other processes; find where to start; decide the precision."""
        self.device, self.folder = self.stack.enter_context(begun(self.recipe, self.folder))
        # One process decides, since the folder is its own.
        self.start = from_first(lambda: StartPoint.of(self.recipe.config, self.folder))
        if self.start.finished is None:
            self.recipe, self.why_precision = decided(self.recipe, self.start.config, self.start.before)
        return self

    def __exit__(self, *error: Any) -> Any:
        """Close what is open, as failed if there is an error."""
        return self.stack.__exit__(*error)

    @property
    def finished(self) -> float | None:
        """What the run came to, where it is over."""
        return self.start.finished

    def load(self) -> None:
        """Read the data and the encoder; say what will run; write the configuration and open the trackers."""
        self.recipe, data = loaded(self.recipe)
        recipe, encoder = self.recipe, data.encoder
        self.data = data
        self.measuring = Measuring.of(recipe, encoder, recipe.dims, recipe.precision, self.device)
        self.plan, self.vocabulary = training_plan(recipe, data.batches), Vocabulary.of(recipe, data)
        limits = memory_limits(recipe, data, self.measuring, self.vocabulary)
        step = from_first(lambda: StepChoice.of(recipe, limits, self.plan, self.start.before))
        limits, recipe = step.limits(limits), step.chosen(recipe)
        self.recipe = recipe
        said = partial(announce, self.folder, recipe, data, limits, self.plan, self.why_precision)
        self.diagnosis = from_first(said)
        if is_first():
            step.show()
            # Only now: a mistake in data or model leaves no folder behind.
            files.write_config(self.folder, recipe.config)
            write_environment(self.folder)
        self.start = from_first(lambda: self.start.at_checkpoint(recipe.config))
        self.loggers = make_loggers(recipe, self.folder)
        self.stack.enter_context(closed_if_failed(self.loggers))
        self.stack.enter_context(shortage_explained(limits))

    def measure_before(self) -> Before:
        """What training has to beat; the first row of the log."""
        self.measuring.encoder.to(self.measuring.device)
        goes_on = self.start.state is not None
        prepare_guide(self.recipe, self.data, self.measuring)
        project = partial(put_projection, self.recipe, self.data, self.measuring, self.folder, goes_on=goes_on)
        before = measure_before(self.recipe, self.data, self.measuring, project)
        self.begins = StartOfTraining.of(self.data, self.measuring)
        for logger in self.loggers if self.start.state is None else ():
            logger.log_metrics(before.logged, step=0)
        selecting, pairs = self.data.selecting, self.data.pairs
        lines.show_estimate(before.base, selecting, pairs, self.plan, self.recipe.batch_size)
        lines.say("tokens", self.vocabulary.compact())
        put_adapter(self.recipe, self.measuring.encoder)
        return before

    def training(self) -> Training:
        """Module and Trainer. Raises UserError for a device that is not there."""
        module = make_module(self.recipe, self.data.encoder, self.plan)
        if self.recipe.compiled_layers:
            module.encoder.packed_layers.compile()
        measure = partial(self.measuring.measure, self.data.selecting, may_be_equal=True)
        return make_training(
            self.recipe, self.folder, module, self.data.batches, self.loggers, measure, self.data.prefix, self.start
        )

    def fit(self, training: Training) -> None:
        """Go on from the checkpoint, if there is one, and train what is left; a step that cannot be made is kept."""
        self.start.restore(training.module, training.checkpoints, self.loggers)
        from_first(lambda: keep_start(self.recipe, training.checkpoints.kept, training.module.encoder))
        if not self.start.is_trained(self.plan, training.module.progress):
            with step_kept(self.recipe, self.data, self.folder):
                training.fit()

    def restore_best(self, training: Training, before: Before) -> float:
        """Give the encoder the weights that are kept; returns the selecting metric that made them the best."""
        self.best = best = restore_best(training.checkpoints, training.module.encoder)
        self.measuring.encoder.to(self.measuring.device)
        if self.recipe.blend:
            blending = Blending(self.recipe, self.data, self.measuring, before, best, training.checkpoints.kept)
            self.measuring, self.blend = blending.keep_best()
            self.best = Best(best.step if self.blend.kept.share else 0, self.blend.kept.value)
        finish_adapter(self.measuring.encoder, self.folder)
        return self.best.value

    def measure(self) -> EvaluationResult:
        """The encoder as it is, on the test queries and the further sets."""
        tuned = self.measuring.measure(self.data.test)
        self.deployment = what_to_deploy(self.data, self.measuring)
        self.sets = measure_sets(self.data.sets, self.measuring)
        self.explanation = self.begins.explained(self.recipe, self.data, self.measuring)
        return tuned

    def write(self, training: Training, before: Before, tuned: EvaluationResult) -> None:
        """Everything that the run leaves: the work of one process."""
        if not leave():
            return
        record = replace(
            training_record(self.recipe, self.data, self.measuring, before, self.best, tuned, self.sets),
            blend=self.blend,
            explanation=self.explanation,
            updates=self.plan.updates,
            history=tuple(training.log.rows),
            skipped=training.module.nonfinite.skipped,
            diagnosis=self.diagnosis,
            deployment=self.deployment,
            seconds=time.perf_counter() - self.began,
        )
        encoder = self.data.encoder
        encoder.whole_vocabulary()
        write(self.folder, self.recipe, record, encoder.cpu(), training.trainer)
