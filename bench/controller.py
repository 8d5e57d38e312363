"""aiosmtpd's Sink handler in our controller or theirs: `python -m bench.controller NAME PORT`."""

from __future__ import annotations

import signal
import sys

from aiosmtpd.handlers import Sink


def main(name: str, port: int) -> None:
    """Serve until SIGTERM."""
    if name == "mailrace":
        from mta.smtpd import Controller
    else:
        from aiosmtpd.controller import Controller  # type: ignore[assignment]
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    controller = Controller(Sink(), hostname="127.0.0.1", port=port)
    controller.start()
    signal.sigwait([signal.SIGTERM])
    controller.stop()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
