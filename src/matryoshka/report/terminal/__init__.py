"""A result in the terminal: lines and tables."""
