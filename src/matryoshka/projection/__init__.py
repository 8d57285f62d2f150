"""One matrix behind the pooling, from the embeddings of pairs alone: fitted in seconds, and applied to stored vectors."""
