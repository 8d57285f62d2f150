"""The sweepers of train.py and evaluate.py. Hydra finds them by the name of the package above."""
