"""One matrix behind the pooling, from the embeddings of pairs alone: found in seconds, kept, and applied to vectors."""
