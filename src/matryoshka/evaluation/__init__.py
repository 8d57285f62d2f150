"""Sets to embeddings, once; exact search at every dim; metrics, ties, intervals; one result."""
