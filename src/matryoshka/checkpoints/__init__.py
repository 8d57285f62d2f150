"""A training kept on disk: a state between two updates, from which it goes on to the same end."""
