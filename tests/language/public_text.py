"""What the project says to people: docstrings, messages, and the help of the commands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

import click

from tests.processes import ROOT

PACKAGE = ROOT / "oban_sqla"


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text, and where it is."""

    where: str
    text: str


def of_package() -> Iterator[Text]:
    """The public text of every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield from of_module(path.read_text(), str(path.relative_to(ROOT)))


def of_module(source: str, name: str) -> Iterator[Text]:
    """The docstrings of public names, and every literal that is a sentence: errors, log lines, findings, reasons.

    A private function, class or attribute has no public docstring; but a message inside a private function is as public
    as any other. A literal without a space is a name and not a sentence.
    """
    tree = ast.parse(source)
    docstrings = dict(_docstrings(tree, is_public=True))
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if node in inside or (isinstance(node, ast.Constant) and not docstrings.get(node, True)):
            continue
        if isinstance(node, ast.JoinedStr):
            inside |= {part for part in ast.walk(node) if part is not node}
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if " " in text.strip():
            yield Text(f"{name}:{node.lineno}", " ".join(text.split()))


def _docstrings(tree: ast.AST, *, is_public: bool) -> Iterator[tuple[ast.Constant, bool]]:
    """Every docstring below `tree`, and whether it is public: whether no name on the way to it is private."""
    body: list[ast.stmt] = getattr(tree, "body", [])
    for before, statement in zip([None, *body], body, strict=False):
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            yield statement.value, is_public and not _is_private(before)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _docstrings(statement, is_public=is_public and not _is_private(statement))


def _is_private(statement: ast.stmt | None) -> bool:
    """Whether `statement` defines a private name."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            pass
        case ast.Assign(targets=[ast.Name(id=name), *_]) | ast.AnnAssign(target=ast.Name(id=name)):
            pass
        case _:
            return False
    return name.startswith("_") and not name.endswith("__")


PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
"""What users and contributors read. The documents of the design may keep their wit."""


def of_pages() -> Iterator[Text]:
    """The paragraphs, rows and blocks of code of every page."""
    for path in PAGES:
        line = 1
        for block in path.read_text().split("\n\n"):
            yield Text(f"{path.relative_to(ROOT)}:{line}", " ".join(block.split()))
            line += block.count("\n") + 2


def of_commands(command: click.Command, path: str = "oban-sqla") -> Iterator[Text]:
    """The help of a command, and of all commands inside it, as it is printed."""
    yield Text(f"{path} --help", " ".join(command.get_help(click.Context(command, info_name=path)).split()))
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from of_commands(inner, f"{path} {name}")
