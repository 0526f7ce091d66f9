"""The example runs as it is."""

from __future__ import annotations

import re

from tests.processes import finished


def test_the_nightly_report_runs_to_its_end() -> None:
    ran = finished(["-m", "examples.nightly_report"], fresh=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert re.match(r"turnover of the day: \{'completed': 250\}, 3112500 cents in \d calls\n", ran.stdout)
