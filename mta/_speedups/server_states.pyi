"""The SMTP server's states; the transition table is not for Python."""

STATES: tuple[str, ...]
