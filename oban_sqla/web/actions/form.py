"""The fields of a form, who sent it, and where to go from it."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import urlencode

from starlette.responses import Response

from ...control.audit import Author, audited
from ..ask import Ask, Refused, Wrong, whole

_BACK = re.compile(r"[a-z]*(/\d+)?(\?[!-~]*)?")
LONGEST_REASON = 500


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
        """The same of a field that must not be blank.

        :raises Wrong: where it is.
        """
        if (value := self.text(name)) is None:
            raise Wrong(f"The field {name} is missing.")
        return value

    def every(self, name: str) -> list[str]:
        """All values of a field."""
        return list(self._fields.get(name, []))

    def number(self, name: str) -> int | None:
        """The value of a field that is a whole number; None where it is blank.

        :raises Wrong: for anything else.
        """
        if (value := self.text(name)) is None:
            return None
        if (made := whole(value)) is None:
            raise Wrong(f"{name}: expected a whole number, got {value!r}")
        return made

    def json_object(self, name: str) -> dict[str, Any] | None:
        """The value of a field that is a JSON object; None where it is blank.

        :raises Wrong: for anything else.
        """
        if (value := self.text(name)) is None:
            return None
        try:
            made: object = json.loads(value)
        except ValueError as error:
            raise Wrong(f"{name}: expected a JSON object; {error}") from error
        if not isinstance(made, dict):
            raise Wrong(f"{name}: expected a JSON object, such as {{}}; got {value[:100]!r}")
        return cast("dict[str, Any]", made)

    def names(self, name: str) -> list[str]:
        """The value of a field as words, divided by commas or blanks."""
        return [word for word in re.split(r"[,\s]+", self.text(name) or "") if word]

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

    @property
    def back(self) -> str:
        """The page to go back to, inside the dashboard."""
        value = self.text("back") or ""
        return value if _BACK.fullmatch(value) else ""

    def done(self, verb: str, number: int, path: str | None = None) -> Response:
        """Go back to the page that the form came from, which says what was done."""
        page, _, query = (self.back if path is None else path).partition("?")
        kept = "&".join(part for part in query.split("&") if part and not part.startswith(("did=", "n=")))
        said = urlencode({"did": verb, "n": number})
        location = self.ask.link(page)
        separator = "&" if "?" in location else "?"
        rest = f"{kept}&{said}" if kept else said
        return Response(status_code=303, headers={"location": f"{location}{separator}{rest}"})
