"""Several processes that train one model: each encodes its share of a batch, all of them compute the whole loss."""
