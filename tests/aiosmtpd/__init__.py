"""aiosmtpd's own test suite, run on our classes."""
