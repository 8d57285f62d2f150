"""The state of a training on disk: whole or not there, and checked before it is gone on from."""
