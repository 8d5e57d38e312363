"""Mail programs of others on loopback: found, started in a folder of their own, ended by pid.

`programs` finds them, `process` starts and ends one, `postfix`, `exim` and `python` are receivers,
`clients` are senders, `contents` what is sent.
"""

from tests.peers.programs import find, require

__all__ = ["find", "require"]
