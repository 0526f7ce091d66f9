"""Public text is plain English, for engineers to whom it may be a second language: these words are not in it."""

from __future__ import annotations

import re

import pytest

from oban_sqla.cli import main
from tests.language.public_text import Text, of_commands, of_module, of_package, of_pages
from tests.processes import ROOT

WORDS = {
    "is not a valid …": r"(?<!there )\b(?:is|are) no (?!longer\b|more than\b|such\b)[a-z]+",
    "is set in, is in": r"\bst(?:ands?|ood|anding) in\b",
    "heartbeat": r"\bsigns? of life\b",
    "one per …": r"\bone an? (?!time\b)[a-z]+",
    "overrides": r"\b(?:goes?|went|going) before\b",
    "is paused, is inactive": r"\b(?:rests|rested)\b|\bat rest\b|\blets? (?:it|them|\w+ \w+) rest\b",
    "your, another": r"\bof yours\b",
    "its own": r"\bof (?:its|their|our|your|my|one's) own\b",
    "no node, another program, the caller": r"\b(?:some|no)body\b(?!`)|\bwhoever\b|\bstrangers?\b",
    "Telemetry:": r"(?-i:\bTold:)",
}
"""Patterns, each after the words to use instead."""


def found_in(text: str) -> list[str]:
    """The unwanted words in `text`, with what to say instead."""
    return [
        f"{match.group(0)!r}: say {instead!r}"
        for instead, pattern in WORDS.items()
        for match in re.finditer(pattern, text, re.IGNORECASE)
    ]


def complaints(texts: list[Text]) -> list[str]:
    return [f"{text.where}: {complaint}" for text in texts for complaint in found_in(text.text)]


def test_docstrings_and_messages() -> None:
    assert not complaints(list(of_package()))


def test_the_help_of_every_command() -> None:
    assert not complaints(list(of_commands(main)))


def test_the_readme_and_every_page_of_the_documentation() -> None:
    assert not complaints(list(of_pages()))


def test_the_names_of_the_tests() -> None:
    names = [
        Text(path.name, name.replace("_", " "))
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    ]
    assert not complaints(names)


@pytest.mark.parametrize(
    "text",
    [
        "5 is no name", "which are no strings", "what stands in the row", "it gave no sign of life", "one a queue",
        "the environment goes before the file", "the entry rests", "a queue at rest", "a program of yours",
        "a connection of its own", "nobody leads", "Somebody took it", "whoever asks", "a stranger wrote it",
        "Told: a span",
    ],
)  # fmt: skip
def test_an_unwanted_word_is_found(text: str) -> None:
    assert found_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "there is no job 7", "it is no longer led", "the rest of the arguments", "one at a time", "its own connection",
        "runs as `nobody`", "is set in oban.toml", "one per queue",
    ],
)  # fmt: skip
def test_plain_words_are_not(text: str) -> None:
    assert not found_in(text)


SOURCE = '''
"""A module of yours."""

LIMIT = 5
"""One a queue."""
_LIMIT = 5
"""One a private queue."""

def public():
    """Nobody."""
    raise ValueError(f"{1} is no name")

def _private():
    """Somebody."""
    raise ValueError("a sign " "of life")

class Public:
    """Whoever."""

    def _method(self):
        """Strangers."""
'''


def test_public_docstrings_and_all_messages_are_looked_at() -> None:
    found = [text.text for text in of_module(SOURCE, "a.py")]
    assert found == ["A module of yours.", "One a queue.", "{} is no name", "a sign of life"]
