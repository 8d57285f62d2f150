"""Files that are whole or not there, caches, and texts without secrets."""
