"""Sending mail."""

from __future__ import annotations

import asyncio
import os
import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Protocol


class Mailer(Protocol):
    """What jobs ask for. The tests provide one that keeps what it is given."""

    async def send(self, to: str, subject: str, text: str) -> None: ...


class Smtp:
    def __init__(self, server: str) -> None:
        self._server = server

    async def send(self, to: str, subject: str, text: str) -> None:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "shop@example.com", to, subject
        message.set_content(text)
        await asyncio.to_thread(self._deliver, message)

    def _deliver(self, message: EmailMessage) -> None:
        with smtplib.SMTP(self._server) as smtp:
            smtp.send_message(message)


def make_mailer() -> Iterator[Mailer]:
    yield Smtp(os.environ.get("SMTP_SERVER", "localhost"))
