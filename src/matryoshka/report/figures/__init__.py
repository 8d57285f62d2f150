"""A result as figures, light and dark."""
