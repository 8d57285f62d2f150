"""What happens around the training step: evaluation after an epoch, the progress bar, the file of metrics."""
