"""A line of the log of a job, for people."""

from __future__ import annotations

from datetime import UTC

from ...control.streams import LogLine


def text_of_line(line: LogLine) -> str:
    """``2026-01-05 12:00:01Z INFO    app.jobs: page 7``."""
    return f"{line.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z {line.level:<7} {line.logger}: {line.message}"
