"""A quiet, offline surrounding for every test: no account, no network, one place for the embedded encoder."""

from __future__ import annotations

import os

# Before anything imports them: libraries read these once.
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
