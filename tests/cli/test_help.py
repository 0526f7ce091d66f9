"""The command's face: how it is called, and what it teaches."""

from __future__ import annotations

import re
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, insert

from oban_sqla.cli import main
from oban_sqla.cli.problems import ELSEWHERE
from oban_sqla.models.job import jobs
from tests.processes import finished

COMMANDS = [
    "demo",
    "start",
    "migrate",
    "sql",
    "why",
    "doctor",
    "queues",
    "limits",
    "cron",
    "top",
    "web",
    "jobs",
    "bench",
    "grants",
    "workers",
    "postgres",
    "run",
    "reindex",
]
SUBCOMMANDS = {"jobs": ["list", "show", "add", "cancel", "retry", "delete", "watch"], "limits": ["simulate"]}


@pytest.mark.parametrize("module", ["oban_sqla", "oban_sqla.cli"])
def test_it_runs_as_a_module(module: str) -> None:
    done = finished(["-m", module, "--version"], fresh=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, f"oban-sqla {version('oban-sqla')}", "")


WITHOUT_STREAMS = """
import os, sys
os.closerange(0, 3)
from oban_sqla.cli import main
main(["--version"], standalone_mode=False)
sys.exit(sum(os.path.samestat(os.fstat(number), os.stat(os.devnull)) for number in range(3)))
"""


def test_what_opens_a_connection_never_takes_the_place_of_a_stream_that_is_closed() -> None:
    assert finished(["-c", WITHOUT_STREAMS], fresh=True).returncode == 3


NOT_INSTALLED = """
import importlib.metadata as metadata
def version(name):
    raise metadata.PackageNotFoundError(name)
metadata.version = version
from oban_sqla.cli import main
main(["--version"])
"""


def test_it_says_that_it_knows_no_version_where_it_is_not_installed() -> None:
    done = finished(["-c", NOT_INSTALLED], fresh=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "oban-sqla unknown\n", "")


def test_what_other_queues_call_a_command_leads_to_that_of_this_one() -> None:
    for theirs, ours in ELSEWHERE.items():
        done = CliRunner().invoke(main, [theirs, "app.jobs"])
        assert (done.exit_code, theirs in main.commands) == (2, False)
        assert f"No such command '{theirs}': it may be `oban-sqla {ours}`." in done.output
        assert CliRunner().invoke(main, [*ours.split(), "--help"]).exit_code == 0


def test_the_module_of_the_doctor_names_the_command() -> None:
    done = finished(["-m", "oban_sqla.doctor"], fresh=True)
    assert (done.returncode, done.stderr.partition(",")[0]) == (1, "the doctor is a command: oban-sqla doctor")


def test_it_is_installed_as_a_command() -> None:
    (entry,) = entry_points(group="console_scripts", name="oban-sqla")
    assert entry.load() is main


def test_its_help_leads_from_nothing_to_running_jobs() -> None:
    said = CliRunner().invoke(main, ["--help"]).output
    assert said.index("oban-sqla migrate ") < said.index("oban-sqla start app.jobs")
    assert all(re.search(rf"^  {command} ", said, re.MULTILINE) for command in COMMANDS)
    assert "..." not in said.partition("Commands:")[2], "a command's summary is cut off"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example(command: str) -> None:
    said = CliRunner().invoke(main, [command, "--help"], terminal_width=80).output
    assert re.search(rf"^    oban-sqla {command} ", said, re.MULTILINE)
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize(("command", "sub"), [(name, sub) for name, subs in SUBCOMMANDS.items() for sub in subs])
def test_the_help_of_each_command_inside_another_has_an_example(command: str, sub: str) -> None:
    said = CliRunner().invoke(main, [command, sub, "--help"], terminal_width=80).output
    assert re.search(rf"^    oban-sqla {command} {sub}( |$)", said, re.MULTILINE)
    assert max(map(len, said.splitlines())) <= 80
    assert f"  {sub} " in CliRunner().invoke(main, [command, "--help"]).output


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({"NO_COLOR": "", "TERM": "xterm"}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": "", "TERM": "dumb"}, False)],
)
def test_colours_are_left_out_when_they_are_unwanted(
    database_url: str, clean_tables: None, sync_engine: Engine, environment: dict[str, str], coloured: bool
) -> None:
    with sync_engine.begin() as connection:
        job_id = connection.scalars(insert(jobs).values(worker="w", state="discarded").returning(jobs.c.id)).one()
    for command in (["jobs", "list"], ["why", str(job_id)]):
        given = {"OBAN_DATABASE_URL": database_url, **environment}
        said = CliRunner().invoke(main, command, env=given, color=True)
        assert said.exit_code == 0, said.output
        assert "discarded" in said.stdout
        assert ("\x1b[" in said.stdout) is coloured, command


def test_a_misspelt_command_or_option_is_a_usage_error() -> None:
    for arguments in (["strat"], ["start", "--queue", "a=1", "app"], ["start"]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.output


def test_uvloop_and_rich_are_not_needed(tmp_path: Path) -> None:
    code = "import sys; sys.modules.update(uvloop=None, rich=None); import oban_sqla.cli.process as p; "
    done = finished(["-c", code + "print(p.loop_factory())"])
    assert done.stdout.strip() == "None", done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop has no Windows")
def test_uvloop_is_taken_where_it_is_installed() -> None:
    pytest.importorskip("uvloop")
    done = finished(["-c", "import oban_sqla.cli.process as p; print(p.loop_factory())"])
    assert "new_event_loop" in done.stdout, done.stderr


def test_characters_that_a_terminal_lacks_are_escaped() -> None:
    result = CliRunner(charset="latin-1").invoke(main, ["top", "--help"])
    assert result.exit_code == 0, result.output
    assert "Oban(name=\\u2026)" in result.output


def test_the_types_of_options_need_no_brackets_of_click() -> None:
    """Its own type takes them from 8.4 on."""
    before = "import click; click.ParamType.__class_getitem__ = None; import oban_sqla.cli"
    ran = finished(["-c", before])
    assert ran.returncode == 0, ran.stderr
