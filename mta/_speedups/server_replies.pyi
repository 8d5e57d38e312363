"""What the server core answers by itself; nothing here is for Python."""
