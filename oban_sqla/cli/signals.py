"""The signals that ask a process to stop."""

from __future__ import annotations

import signal


def to_stop() -> tuple[signal.Signals, ...]:
    """SIGTERM, SIGINT, and SIGHUP, which a closed terminal sends; without SIGHUP if ``nohup`` has made it ignored."""
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGTERM, signal.SIGINT, *hangup)


def insists(number: int) -> bool:
    """Whether a second signal of this number means "at once".

    SIGHUP does not: when a terminal is closed, both the shell and the kernel send it, and systemd may send it right
    after SIGTERM (``SendSIGHUP=``).
    """
    return number != signal.SIGHUP
