"""One matrix behind the pooling, from the embeddings of pairs alone: fitted in seconds, applied to stored vectors."""
