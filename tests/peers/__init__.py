"""Mail programs of others on loopback: found, started in a folder of their own, ended by pid.

`programs` finds them, `process` starts and ends one, `postfix`, `exim` and `python` are receivers,
`clients` are senders, `contents` what is sent. `relay` is what the agents that pass mail on have in
common: those of `postfix` and `exim`, `opensmtpd`, `sendmail` and `haraka`.
"""

from tests.peers.programs import find, require

__all__ = ["find", "require"]
