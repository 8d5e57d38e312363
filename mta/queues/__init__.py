"""Where each accepted recipient is, in which order mail leaves, what follows from an outcome."""
