"""W&B: the one package that knows it."""
