"""What a stored error says, in one line."""

from __future__ import annotations

import re

_FRAME = re.compile(r'.*Traceback \(most recent call last\):$|  File "| +[~^]+$|[^ ].*", line \d+, in \S+$')
"""A line behind which the exception comes; the last one is that of a frame whose beginning is cut off."""
_DRIVER = re.compile(r"^sqlalchemy\.exc\.(\w+: )\([\w.]+\) (?:<class '[\w.]+'>: )?")
"""What SQLAlchemy says of the driver before the message of the server, which a list would cut off."""

_BARS = re.compile(r"^(  *[|+] )+")


def gist(error: str | None) -> str | None:
    """What an error says in one line: of a traceback the exception, of anything else the first line.

    The last line of a traceback is not the exception's where its message has several, as those of SQLAlchemy have.

    :param error: as it is stored, or only its end.
    :returns: None without an error.
    """
    if error is None:
        return None
    bare = [_BARS.sub("", line) for line in error.strip("\n").splitlines()] or [""]  # exception groups have bars
    frames = [at for at, line in enumerate(bare) if _FRAME.match(line)]
    rest = bare[frames[-1] + 1 :] if frames else bare
    found = next((line for line in rest if line and not line.startswith(" ")), bare[-1]).strip()
    return _DRIVER.sub(r"\1", found)
