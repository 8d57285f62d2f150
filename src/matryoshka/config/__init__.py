"""What a user may choose: resolvers for values that depend on the machine, and the check of the whole."""
