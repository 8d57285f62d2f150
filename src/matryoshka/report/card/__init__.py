"""A trained model's card."""
