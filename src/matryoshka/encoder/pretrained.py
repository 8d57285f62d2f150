"""Where an encoder comes from, and what can be known of it before its weights are read. Imports nothing slow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matryoshka.embedded import e5_small
from matryoshka.encoder.decoder import first_token_problem
from matryoshka.encoder.encoder_half import hidden_size
from matryoshka.encoder.hub_model import (
    at_hand,
    commit_of,
    fetched_anew,
    hub_config,
    hub_folder,
    require_cached,
    unreadable,
)
from matryoshka.encoder.missing_weights import missing_weights
from matryoshka.encoder.model_folder import read_json, require_config, require_inside, require_loadable, require_trusted
from matryoshka.encoder.sentence_transformers import SavedSettings
from matryoshka.encoder.sequence_length import length_problem, longest_sequence, sequence_length
from matryoshka.encoder.transformer_folder import no_transformer, transformer_folder
from matryoshka.errors import UserError

if TYPE_CHECKING:
    from matryoshka.encoder.encoder import Encoder
    from matryoshka.encoder.pooling import Pooling

EMBEDDED = "embedded:e5_small"
PINNED = re.compile(r"([\w.-]+/[\w.-]+)@([\w./-]+)")


@dataclass(frozen=True)
class Pretrained:
    """An encoder by its place: a folder, a run's folder, a hub name, or `embedded:e5_small`.

    What is None is taken as saved with the model: pooling and prompts of a sentence-transformers folder (else CLS
    and none), max_seq_length of the same (else of the tokenizer). revision pins a commit of a hub model.
    gradient_checkpointing trades time for memory. trust_remote_code runs code that the model brings: off unless asked.
    pickled_weights reads pytorch_model.bin, tensors alone, where there are no safetensors: nor is it fetched unasked.
    """

    model: str
    revision: str | None = None
    max_seq_length: int | None = None
    prompts: Mapping[str, str] | None = None
    gradient_checkpointing: bool = False
    trust_remote_code: bool = False
    pickled_weights: bool = False

    @classmethod
    def named(cls, name: str) -> Pretrained:
        """An encoder by one text, a hub model's revision after an @: `BAAI/bge-m3@<commit>`."""
        found = None if Path(name).expanduser().exists() else PINNED.fullmatch(name)
        return cls(found[1], revision=found[2]) if found else cls(name)

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong with the place or the length, found without reading weights."""
        try:
            config = self.config
            self.settings.require_supported()
            if self.folder is None:
                require_config(config, self.model)
                require_trusted(config, self.model, trust_remote_code=self.trust_remote_code)
                if cached := unreadable(self.model, self.revision, pickled=self.pickled_weights):
                    raise missing_weights(cached, pickled=self.pickled_weights)
                if cached := at_hand(self.model, self.revision):
                    require_cached(
                        cached, trust_remote_code=self.trust_remote_code, pickled_weights=self.pickled_weights
                    )
            elif self.model != EMBEDDED:  # which is ours, and perhaps yet to be made
                self._require_loadable(self.folder)
                self.settings.require_dense(hidden_size(config), len(self.settings.pooling or ("cls",)))
        except UserError as error:
            yield "model", str(error)
            return
        for key in set(self.prompts or {}) - {"query", "document"}:
            yield f"prompts.{key}", "unknown prompt; there are query and document"
        asked = self.max_seq_length
        if asked is not None and (problem := length_problem(asked, longest_sequence(config))):
            yield "max_seq_length", problem

    def pooling_problem(self, modes: Sequence[str] | None = None) -> str | None:
        """Why these modes, None for the saved ones, pool nothing of a text, where that is known before it is loaded."""
        if modes is None and self.folder is None:  # of the hub, from where the file with the modes may be yet to come
            return None
        return first_token_problem(self.model, self.config, modes, self.settings.pooling)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's config.json. Raises UserError if the model cannot be found."""
        if self.model == EMBEDDED:
            return {"hidden_size": e5_small.WIDTH, "max_position_embeddings": 514, "model_type": "xlm-roberta"}
        if (folder := self.folder) is not None:
            require_inside(folder)
            return read_json((transformer_folder(folder) or folder) / "config.json")
        return hub_config(self.model, self.revision)

    @property
    def folder(self) -> Path | None:
        """The local folder with the model's files, None for a hub name. Raises UserError if there is none."""
        if self.model == EMBEDDED:
            return e5_small.folder()
        path = Path(self.model).expanduser()
        if path.is_dir():
            for candidate in (path, path / "model"):
                if transformer_folder(candidate):
                    return candidate
            raise no_transformer(path)
        if path.exists() or self.model.startswith((".", "/", "~")) or self.model.count("/") > 1:
            state = "is a file" if path.exists() else "does not exist"
            raise UserError(f"{self.model} {state}; give a model folder, a run's folder or a hub name like BAAI/bge-m3")
        return None

    @cached_property
    def settings(self) -> SavedSettings:
        """What a sentence-transformers folder says of what follows, length and prompts; empty if it is not at hand."""
        pickled = self.pickled_weights
        if self.folder is not None:
            return SavedSettings.read(self.folder, pickled=pickled)
        try:
            cached = at_hand(self.model, self.revision)
            return SavedSettings.read(cached, pickled=pickled) if cached else SavedSettings()
        except UserError:  # some of its files are yet to be fetched
            return SavedSettings()

    def commit(self) -> str | None:
        """The commit of a hub model's files, which are fetched first if they are not at hand; None for other models."""
        return None if self.folder is not None else commit_of(self._fetched())

    def _fetched(self) -> Path:
        """The folder of a hub model."""
        return hub_folder(self.model, self.revision, code=self.trust_remote_code, pickled=self.pickled_weights)

    def _require_loadable(self, folder: Path) -> None:
        with fetched_anew(folder):
            require_inside(folder)
            place = transformer_folder(folder) or folder
            require_loadable(place, trust_remote_code=self.trust_remote_code, pickled_weights=self.pickled_weights)

    def load(self, pooling: Pooling | None = None) -> Encoder:
        """Read the weights. Raises UserError if the files are not to be had or not to be trusted."""
        from matryoshka.encoder.encoder import Encoder
        from matryoshka.encoder.loading import read_model
        from matryoshka.encoder.pooling import Pooling

        ready = e5_small.prepare() if self.model == EMBEDDED else self.folder
        folder = ready or self._fetched()
        self._require_loadable(folder)
        with fetched_anew(folder):
            settings = SavedSettings.read(folder, pickled=self.pickled_weights)
        settings.require_supported()
        place = transformer_folder(folder) or folder
        config, modes = read_json(place / "config.json"), pooling.modes if pooling else None
        if problem := first_token_problem(self.model, config, modes, settings.pooling):
            raise UserError(problem)
        pooling = pooling or Pooling(settings.pooling or ("cls",), settings.include_prompt)
        settings.require_dense(hidden_size(config), pooling.factor)
        backbone, tokenizer = read_model(
            place, self.model, trust_remote_code=self.trust_remote_code, pickled_weights=self.pickled_weights
        )
        settings.require_width(backbone.config.hidden_size, pooling.factor)  # which config.json may call otherwise
        if self.gradient_checkpointing:
            # transformers 5.23 has a new name for it and warns of the old one
            enable = "activation_checkpointing_enable"
            getattr(backbone, enable, backbone.gradient_checkpointing_enable)()
        length = sequence_length(
            self.model,
            backbone.config.to_dict(),
            asked=self.max_seq_length,
            saved=settings.max_seq_length,
            of_tokenizer=tokenizer.model_max_length,
        )
        return Encoder(
            backbone,
            tokenizer,
            pooling,
            max_seq_length=length,
            prompts=self.prompts if self.prompts is not None else settings.prompts,
            dense=[saved.load() for saved in settings.dense],
            do_lower_case=settings.do_lower_case,
            name=self.model,
            revision=self.revision if ready else commit_of(folder) or self.revision,
        )
