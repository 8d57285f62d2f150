"""German pairs, heading and section of the LibreOffice help, as JSON lines: train, evaluation, documents."""

from pathlib import Path

FOLDER = Path(__file__).parent
