"""Machine, versions and state of the code that a result comes from."""
