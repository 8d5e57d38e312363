"""Load that a worker's end must not trouble: `python -m tests.load`."""
