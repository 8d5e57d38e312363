"""Sends: decides what leaves, keeps connections to servers, and reports what became of it."""
