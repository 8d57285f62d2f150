"""German pairs on music, heading and section of the LilyPond manuals, as JSON lines: evaluation, documents."""

from pathlib import Path

FOLDER = Path(__file__).parent
