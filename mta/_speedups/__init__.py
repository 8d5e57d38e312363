"""Compiled kernels and the classes that each message walks through.

They import no asyncio, socket, ssl, select, uvloop or time: bytes in, bytes and events out.
"""
