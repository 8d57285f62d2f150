"""The jobs of a sweep: what became of each, and what they say together."""
