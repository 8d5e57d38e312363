"""The SMTP protocol without I/O: octets in, events and octets out (RFC 5321)."""
