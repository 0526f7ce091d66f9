"""The application. Run it with ``uvicorn examples.stream.main:app``, after ``oban-sqla migrate``."""

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Header
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla import Oban, async_url

from .jobs import answer

engine = create_async_engine(async_url(os.environ["DATABASE_URL"]))
oban = Oban(engine, queues={"answers": 10})


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
    async with oban:
        yield
    await engine.dispose()


app = FastAPI(title="Answers", lifespan=lifespan)


class Question(BaseModel):
    text: str
    pause: float = 0.05


@app.post("/answers", status_code=202)
async def ask(question: Question) -> dict[str, int]:
    """Enqueue the answer. Its stream can be read at once, by any process."""
    [spec] = await oban.enqueue(answer.new(question=question.text, pause=question.pause))
    assert spec.id is not None
    return {"id": spec.id}


@app.get("/answers/{job_id}/tokens")
async def tokens(job_id: int, last_event_id: Annotated[int, Header(ge=0)] = 0) -> StreamingResponse:
    """The tokens as server-sent events. A browser that connects again sends the number of the last one it has seen."""

    async def events() -> AsyncGenerator[str]:
        async for number, value in oban.stream(job_id, after=last_event_id):
            yield f"id: {number}\ndata: {json.dumps(value)}\n\n"
        yield "event: end\ndata: {}\n\n"  # or the browser would connect again

    return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


PAGE = """<!doctype html>
<title>Answers</title>
<form><input name="text" value="What is a job?"><button>Ask</button></form>
<p></p>
<script>
  const form = document.querySelector("form"), answer = document.querySelector("p");
  form.onsubmit = async (event) => {
    event.preventDefault();
    answer.textContent = "";
    const body = JSON.stringify({text: form.text.value});
    const asked = await fetch("answers", {method: "POST", body, headers: {"Content-Type": "application/json"}});
    const tokens = new EventSource(`answers/${(await asked.json()).id}/tokens`);
    tokens.onmessage = (event) => { answer.textContent += JSON.parse(event.data).token + " "; };
    tokens.addEventListener("end", () => tokens.close());
  };
</script>
"""


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    return PAGE
