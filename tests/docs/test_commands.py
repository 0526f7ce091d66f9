"""Every command in the README, in the pages, in messages and in the help exists, with its options and arguments."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from oban_sqla.cli import main
from tests.docs.pages import PAGES
from tests.processes import ROOT

WITH_COMMANDS = [ROOT / "README.md", *PAGES]
NAMES = re.compile(r"\b[A-Z]{2,}\b")
"""What stands for a value, such as ID and NAME."""
ENDS = re.compile(r" \| | > ")
"""What ends a command for the shell."""


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of the commands of a page: in its blocks, in its sentences, and in YAML and Dockerfiles."""
    for line in re.findall(r"^\s*(?:[A-Z_]+=\S+ )*(oban-sqla [^\n`]*)$", text, re.MULTILINE):
        yield shlex.split(ENDS.split(line)[0], comments=True)[1:]
    for line in re.findall(r"`(oban-sqla [^`\n]+)`", text):
        yield shlex.split(ENDS.split(line)[0])[1:]
    for line in re.findall(r'\["oban-sqla", [^\]]*\]', text):
        yield json.loads(line)[1:]


def wrong(argv: list[str]) -> str | None:
    """What is wrong with a command. A value is not looked at, and arguments may be missing in a sentence."""
    command: click.Command = main
    context = click.Context(main)
    given = [NAMES.sub("7", one) for one in argv if one not in ("...", "…")]
    while True:
        try:
            _, rest, _ = command.make_parser(context).parse_args(list(given))
        except click.UsageError as error:
            return error.message
        if not isinstance(command, click.Group):
            return f"too much: {rest}" if rest else None
        if not rest:
            return None
        name, given = rest[0], given[given.index(rest[0]) + 1 :]
        if (found := command.get_command(context, "jobs" if name == "7" else name)) is None:
            return f"no command {name!r}"
        command, context = found, click.Context(found, parent=context)


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.name)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    assert [(argv, said) for argv in commands(page.read_text()) if (said := wrong(argv))] == []


def named_by(text: str) -> Iterator[str]:
    """The names of commands in the code of a module or template: of a group with that of the command in it."""
    for line in text.splitlines():
        if "Thread(" in line:
            continue
        for group, name in re.findall(r"\boban-sqla ([a-z]+)(?: ([a-z]+))?", line):
            yield f"{group} {name}" if name and isinstance(main.commands.get(group), click.Group) else group


def test_the_commands_that_errors_and_explanations_name_exist() -> None:
    package = ROOT / "oban_sqla"
    files = [*package.rglob("*.py"), *package.rglob("*.html")]
    named = {(name, path.name) for path in files for name in named_by(path.read_text())}
    assert {(name, path) for name, path in named if wrong([*name.split()])} == set()
    assert {name for name, _ in named} > {"why", "jobs retry", "queues resume", "migrate"}
    assert wrong(next(iter(named_by("see oban-sqla jobs why {row.id}"))).split()) == "no command 'why'"


def helps(command: click.Command) -> Iterator[str]:
    """The help of a command, and of all commands inside it, as it is written."""
    yield command.help or ""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from helps(inner)


def test_the_commands_in_the_help_exist() -> None:
    shown = [argv for text in helps(main) for argv in commands(re.sub(r"\\\n *", "", text))]
    assert [(argv, said) for argv in shown if (said := wrong(argv))] == []
    assert len(shown) > 80


def test_a_command_that_does_not_exist_would_be_found() -> None:
    found = list(
        commands('```sh\noban-sqla start app --queue a=1   # no\n```\n`oban-sqla job list` ["oban-sqla", "top", "x"]')
    )
    assert [bool(wrong(argv)) for argv in found] == [True, True, True]
    assert sum(len(list(commands(page.read_text()))) for page in WITH_COMMANDS) > 150
