"""May this go now: limits counted over all workers of the node, and why not."""
