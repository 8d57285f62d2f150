"""The data doctor: leaks, copies, cut texts and mixed languages, found before a training."""
