"""aiosmtpd's API on our server core: protocol, controllers, and sessions with its handlers."""
