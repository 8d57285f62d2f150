"""Fine-tune an encoder: `python train.py +experiment=bmf`; `python train.py --help` shows every choice."""

from matryoshka.cli.app import train

if __name__ == "__main__":
    train()
