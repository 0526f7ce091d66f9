"""The tracebacks of errors: from the program's own code on, wherever that is."""

from __future__ import annotations

from typing import Any

import pytest

from oban_sqla.runtime.traceback_text import bare_text, traceback_text

PROGRAM = """
def charge():
    declined()

def declined():
    raise ValueError("declined")
"""


@pytest.mark.parametrize("file", ["/srv/shop/jobs.py", "/srv/oban_sqla/jobs.py", "/srv/oban_sqla_shop/jobs.py"])
def test_a_traceback_has_each_frame_of_the_program_whatever_its_folder_is_called(file: str) -> None:
    program: dict[str, Any] = {}
    exec(compile(PROGRAM, file, "exec"), program)
    with pytest.raises(ValueError, match="declined") as caught:
        program["charge"]()
    error = caught.value.with_traceback(caught.tb.tb_next)  # without this test
    for text in (traceback_text(error), bare_text(error)):
        assert [line.strip() for line in text.splitlines() if "File" in line] == [
            f'File "{file}", line 3, in charge',
            f'File "{file}", line 6, in declined',
        ]
