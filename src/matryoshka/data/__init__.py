"""From files to batches of token ids: sources, pairs, samplers, packed batches. Plain Python and torch."""
