"""The tasks: train, evaluate, compare, doctor, plan. Each takes a recipe and a folder."""
