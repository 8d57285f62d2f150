"""A matrix after which stored vectors can be cut short: its file, and millions of vectors through it; no torch."""
