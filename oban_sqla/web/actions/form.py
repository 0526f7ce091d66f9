"""The fields of a form, who sent it, and where to go from it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

from starlette.responses import Response

from ...control.audit import Author, audited
from ...insight.json_text import check_depth
from ..ask import Ask, Content, Refused, Wrong, whole
from ..render import digest

_BACK = re.compile(r"[a-z]*(/\d+)?(\?[!-~]*)?")
_SECTIONS = {"job": "jobs", "flow": "flows", "queue": "queues"}
"""What is current in the menu for the pages of one thing."""
LONGEST_REASON = 500


def as_line(names: Iterable[str]) -> str:
    """Words as :meth:`Form.names` reads them."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue().replace("\r", " ").replace("\n", " ")


def _as_written(text: str) -> float:
    """A number of JSON.

    :raises ValueError: for one that would be another number when it is stored.
    """
    made = float(text)
    if math.isfinite(made) and Decimal(repr(made)) != Decimal(text):
        raise ValueError(f"the number {text[:60]} has more digits than this form can keep")
    return made


class Form:
    """A form that was sent.

    :param ask: by whom, from which page.
    :param fields: what was sent; a name may have several values.
    """

    def __init__(self, ask: Ask, fields: Mapping[str, list[str]]) -> None:
        self.ask = ask
        self._fields = fields

    def text(self, name: str) -> str | None:
        """The value of a field without blanks around it; None where it is missing or blank."""
        value = self._fields.get(name, [""])[0].strip()
        return value or None

    def needed(self, name: str) -> str:
        """The value of a field that must not be blank.

        :raises Wrong: where it is.
        """
        if (value := self.text(name)) is None:
            raise Wrong(f"The field {name} is missing.")
        return value

    def every(self, name: str) -> list[str]:
        """All values of a field."""
        return list(self._fields.get(name, []))

    def was_changed(self, name: str) -> bool:
        """Whether a field says something else than the page has shown, of which the form has a digest.

        So what another operator has changed meanwhile stays, and numbers that this form can't keep.
        """
        text = self._fields.get(name, [""])[0].replace("\r\n", "\n")
        seen = self.text(f"seen_{name}")
        return bool(text.strip()) if seen is None else digest(text) != seen

    def number(self, name: str) -> int | None:
        """The value of a field that is a whole number; None where it is blank.

        :raises Wrong: for anything else.
        """
        if (value := self.text(name)) is None:
            return None
        if (made := whole(value)) is None:
            raise Wrong(f"{name}: expected a whole number, 0 or above, got {value!r}")
        return made

    def json_value(self, name: str) -> object:
        """The value of a field that is JSON of any kind; None where it is blank.

        :raises Wrong: for what is not JSON.
        """
        if (value := self.text(name)) is None:
            return None
        try:
            check_depth(value)
            made: object = json.loads(value, parse_float=_as_written)
        except ValueError as error:
            raise Wrong(f'{name}: expected JSON, such as {{}} or "yes" in quotes; {error}') from error
        return made

    def json_object(self, name: str) -> dict[str, Any] | None:
        """The value of a field that is a JSON object; None where it is blank.

        :raises Wrong: for anything else.
        """
        if self.text(name) is None:
            return None
        made = self.json_value(name)
        if not isinstance(made, dict):
            raise Wrong(f"{name}: expected a JSON object, such as {{}}; got {self.needed(name)[:100]!r}")
        return cast("dict[str, Any]", made)

    def names(self, name: str) -> list[str]:
        """The value of a field as words, divided by commas; one with a comma in it is quoted, see :func:`as_line`."""
        lines = csv.reader([" ".join((self.text(name) or "").splitlines())], skipinitialspace=True)
        words: list[str] = next(lines, list[str]())
        return [word.strip() for word in words if word.strip()]

    @property
    def reason(self) -> str | None:
        """Why, in the operator's words."""
        value = self.text("reason")
        return None if value is None else value[:LONGEST_REASON]

    def allow(self, verb: str, what: str) -> None:
        """Refuse those who may not do this.

        :raises Refused: for them.
        """
        if not self.ask.operator.may(verb):
            raise Refused(f"You may not {what}.")

    @contextmanager
    def audited(self, verb: str, target: Mapping[str, Any]) -> Generator[None]:
        """Each change made inside leaves a row that says who made it."""
        with audited(Author(self.ask.operator.name, "web", self.reason), verb, target):
            try:
                yield
            finally:
                self.ask.place.forget()

    def sure(
        self, heading: str, button: str, notes: Iterable[str], hidden: Iterable[tuple[str, str]], kind: str = "danger"
    ) -> Content:
        """A page that asks whether this is meant. Its form has ``step=do``.

        :param heading: the question.
        :param button: what is said to send it.
        :param notes: what happens then.
        :param hidden: the fields that are sent again.
        :param kind: the class of the button.
        """
        context = {
            "heading": heading,
            "button": button,
            "notes": list(notes),
            "hidden": [*hidden, ("step", "do"), ("back", self.back)],
            "kind": kind,
            "back": self.way_back,
            "action": self.ask.path,
        }
        section = re.split("[/?]", self.back, maxsplit=1)[0]
        return Content("confirm.html", heading.rstrip("?"), context, _SECTIONS.get(section, section), live=False)

    @property
    def is_sure(self) -> bool:
        """Whether it was asked already."""
        return self.text("step") == "do"

    @property
    def back(self) -> str:
        """The page to go back to, inside the dashboard."""
        value = self.text("back") or ""
        return value if _BACK.fullmatch(value) else ""

    @property
    def way_back(self) -> str:
        """The link to that page."""
        path, _, query = self.back.partition("?")
        return self.ask.link(path, pairs=parse_qsl(query, keep_blank_values=True))

    def done(self, verb: str, number: int, path: str | None = None) -> Response:
        """Go back to the page that the form came from, which says what was done."""
        page, _, query = (self.back if path is None else path).partition("?")
        kept = "&".join(part for part in query.split("&") if part and not part.startswith(("did=", "n=")))
        said = urlencode({"did": verb, "n": number})
        location = self.ask.link(page)
        separator = "&" if "?" in location else "?"
        rest = f"{kept}&{said}" if kept else said
        return Response(status_code=303, headers={"location": f"{location}{separator}{rest}"})
