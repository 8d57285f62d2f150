"""What cutting and rounding stored vectors costs, in quality and in bytes."""
