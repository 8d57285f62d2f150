"""The recipes: train, evaluate, and what a sweep adds up to."""
