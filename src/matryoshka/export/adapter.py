"""An encoder's adapter alone, as peft reads it: a few MB beside the model that it was trained on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from matryoshka.encoder.low_rank import NAME
from matryoshka.export.sentence_transformers import write_dense
from matryoshka.storage.atomic import whole_folder

if TYPE_CHECKING:
    from matryoshka.encoder.dense import Dense
    from matryoshka.encoder.encoder import Encoder

PREFIX = "base_model.model."  # of names in such a file: what peft's own models have around the transformer


def write_adapter(encoder: Encoder, folder: Path) -> Path:
    """Write it whole, in place of an older one; `PeftModel.from_pretrained(transformer, folder)` reads it.

    Dense layers behind the pooling are written beside it, each in a folder as sentence-transformers has it.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    model = cast(Any, encoder.backbone)
    config = copy.copy(model.peft_config[NAME])
    config.base_model_name_or_path, config.revision, config.inference_mode = encoder.name, encoder.revision, True
    weights = get_peft_model_state_dict(model, adapter_name=NAME)
    own = {PREFIX + name: values.detach().cpu().contiguous() for name, values in weights.items()}
    with whole_folder(folder) as beside:
        config.save_pretrained(beside)
        save_file(own, beside / "adapter_model.safetensors", metadata={"format": "pt"})
        (beside / "adapter_model.safetensors").chmod(0o644)  # safetensors would keep colleagues out
        for i, layer in enumerate(encoder.dense, 2):
            (beside / f"{i}_Dense").mkdir()
            write_dense(cast("Dense", layer), beside / f"{i}_Dense")
    return folder
