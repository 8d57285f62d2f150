"""Numbers that others published, as they published them."""
