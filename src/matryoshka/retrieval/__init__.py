"""Searching and measuring: exact top-k at every dim, metrics over ranked hits, one frozen result."""
