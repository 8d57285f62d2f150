"""Measure any model: `python evaluate.py model=<folder or hub name>`; `--help` shows every choice."""

from matryoshka.cli.app import evaluate

if __name__ == "__main__":
    evaluate()
