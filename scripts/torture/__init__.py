"""What must not be lost, tried by force."""
