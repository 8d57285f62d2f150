"""What happens around the training step: evaluation, progress, checkpoints, logged rows."""
