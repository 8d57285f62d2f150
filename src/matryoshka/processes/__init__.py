"""Several processes that work as one: who was started, what they exchange, how signals end them."""
