"""What libraries say on their own."""

from __future__ import annotations

import logging
import warnings


def quiet_libraries() -> None:
    """Keep the terminal for what a reader needs: Lightning's tips and loading bars are not."""
    import huggingface_hub.utils
    import transformers
    from datasets.utils.logging import disable_progress_bar

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    huggingface_hub.utils.disable_progress_bars()  # type: ignore[attr-defined]
    disable_progress_bar()
    # Lightning advises on loader workers, on loggers of its own kind, on srun where there is one, and on metrics that
    # differ between processes; none of it applies here.
    for advice in (
        "does not have many workers",
        "`isinstance\\(treespec, LeafSpec\\)`",
        "Checkpoint directory",
        "`srun` command",
        "It is recommended to use `self.log",
    ):
        warnings.filterwarnings("ignore", message=f".*{advice}.*")
