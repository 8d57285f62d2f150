"""Hard negatives out of the training passages: searched, filtered by thresholds, chosen."""
