"""Public fakes: a clock that jumps, zones for a real DNS server, remote mail servers."""
