"""Clients for load that a worker's end must not trouble."""
