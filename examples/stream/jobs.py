"""The worker. A real one would ask a model for its tokens."""

import asyncio

from oban_sqla import emit, job, progress

ANSWER = "A job is a row in your database. It is written by your transaction, and it runs when that has committed."


@job(queue="answers")
async def answer(question: str, pause: float = 0.05) -> None:
    """Answer a question, one token after the other."""
    tokens = ANSWER.split(" ")
    for number, token in enumerate(tokens, 1):
        await emit({"token": token})
        await progress(number, len(tokens), f"answering {question!r}")
        await asyncio.sleep(pause)
