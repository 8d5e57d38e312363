"""Sockets to messages: listeners, sessions and their deadlines around the sans-IO server core."""
