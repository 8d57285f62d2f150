"""What a training did to embeddings, in a few measures, and what to try where one of them is bad."""
