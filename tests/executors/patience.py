"""Waiting for jobs of child processes: on a busy machine, the start of a child alone takes ten seconds."""

from __future__ import annotations

from functools import partial

from tests import support
from tests.runtime import helpers

eventually = partial(support.eventually, timeout=60.0)
finished = partial(helpers.finished, timeout=60.0)
until = partial(helpers.until, timeout=60.0)
