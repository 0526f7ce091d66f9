"""The signals that ask a process to stop."""

from __future__ import annotations

import signal


def to_stop() -> tuple[signal.Signals, ...]:
    """SIGTERM, SIGINT, and SIGHUP, which a terminal sends that is closed; not where ``nohup`` has it ignored."""
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGTERM, signal.SIGINT, *hangup)


def insists(number: int) -> bool:
    """Whether the signal, if it is not the first one, means "at once".

    Not SIGHUP: of a terminal that is closed the shell sends one and the kernel another, and systemd may send it right
    after SIGTERM (``SendSIGHUP=``).
    """
    return number != signal.SIGHUP
