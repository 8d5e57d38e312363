"""CRC-32C (Castagnoli), which RocksDB's files use."""

def crc32c(data: bytes | memoryview, start: int, end: int) -> int:
    """The checksum of the octets from `start` to before `end`; ValueError if they are not there."""
