"""Ways to hand a message over."""
