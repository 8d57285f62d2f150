"""How much memory a run needs at its peak, known before it starts, and how much there is."""
