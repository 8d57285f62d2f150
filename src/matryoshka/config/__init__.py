"""What a user may choose: resolvers for values that depend on the machine, and the check before anything starts."""
