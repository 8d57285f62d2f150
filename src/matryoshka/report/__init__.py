"""Results made visible: terminal, figure, model card, files, W&B. No surface computes a number of its own."""
