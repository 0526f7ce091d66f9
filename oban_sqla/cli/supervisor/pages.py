"""The health checks of a node of several processes, answered by asking each of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from ...healthcheck import METHODS, as_json
from ...insight.health import PATIENCE as OF_DATABASE
from ..health import JSON, failed, response

PATIENCE = 1.0
"""Seconds that a process may take to answer."""
METRICS_PATIENCE = OF_DATABASE + 1.0
"""Seconds that a process may take to answer with its metrics, for which it waits for the database first."""
PAGES = ("/", "/ready", "/live", "/metrics")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a process has answered; the status is 0 without an answer."""

    status: int
    body: bytes

    def as_dict(self, index: int) -> dict[str, Any]:
        """The answer as a part of the JSON of all processes."""
        try:
            said = json.loads(self.body)
        except ValueError:
            said = self.body.decode(errors="replace")
        return {"process": index + 1, "status": self.status or None, "answer": said}


class Pages:
    """The pages of a node of several processes.

    ``/ready`` and ``/live`` answer 200 when each process answers 200 within a second, else 503, with all answers.
    ``/metrics`` answers with the sums.

    :param sockets: the paths of the sockets at which the processes answer.
    """

    def __init__(self, sockets: Sequence[str]) -> None:
        self._sockets = sockets

    async def answer(self, method: str, path: str) -> bytes:
        """The answer to a request, as bytes."""
        path = path.partition("?")[0]
        if path not in PAGES:
            return failed(HTTPStatus.NOT_FOUND, method, f"not found; the pages are {', '.join(PAGES)}")
        if method not in METHODS:
            return failed(HTTPStatus.METHOD_NOT_ALLOWED, method, "only GET and HEAD are answered")
        patience = METRICS_PATIENCE if path == "/metrics" else PATIENCE
        answers = await asyncio.gather(*(_ask(socket, path, patience) for socket in self._sockets))
        if path == "/metrics":
            return self._metrics(answers, method)
        ok = all(answer.status == HTTPStatus.OK for answer in answers)
        body = {"ok": ok, "processes": [answer.as_dict(index) for index, answer in enumerate(answers)]}
        return response(HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE, JSON, as_json(body), method)

    def _metrics(self, answers: Sequence[Answer], method: str) -> bytes:
        texts = {index: answer.body for index, answer in enumerate(answers) if answer.status == HTTPStatus.OK}
        try:
            from .metrics import KIND, summed
        except ImportError:
            return failed(HTTPStatus.NOT_FOUND, method, "not found; prometheus-client is not installed")
        return response(HTTPStatus.OK, KIND, summed(texts), method)


async def _ask(socket: str, path: str, patience: float) -> Answer:
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode("latin-1"))
                head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except TimeoutError:
        return Answer(0, f"no answer within {patience:g} s".encode())
    except OSError as error:
        return Answer(0, f"not there: {error.strerror or type(error).__name__}".encode())
    words = head.partition(b"\r\n")[0].split(b" ")
    return Answer(int(words[1]) if len(words) > 1 and words[1].isdigit() else 0, body)
