"""Message ids as octets."""

def packed(ms: int, counter: int, shard: int, noise: int) -> bytes:
    """UUIDv7: 48 bits of milliseconds, 12 of counter, then, behind the variant, 12 of shard, 50 of noise."""
