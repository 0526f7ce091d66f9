"""Workflows that are drawn at random: the jobs of which they are made, and the model that says how each of them ends.

A drawn flow is plain data, so that a job can get one as an argument and return it as a workflow.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Cancel, Discard, InvalidOption, Job, JobSpec, Oban, Workflow, flow_of, injected, job

QUEUE = "chaos"
MOST_DEPTH = 2
TABLES = (
    "CREATE TABLE chaos_runs (job_id bigint, attempt int, PRIMARY KEY (job_id, attempt))",
    "CREATE TABLE chaos_effects (job_id bigint, attempt int, inputs jsonb, PRIMARY KEY (job_id, attempt))",
    "CREATE TABLE chaos_healed ()",
)

Kind = Literal["job", "list", "map", "part", "graft", "append"]
End = Literal["completed", "discarded", "cancelled"]


@dataclass(slots=True)
class Step:
    """One node.

    :ivar kind: a job; one that returns a list; a map over the list of `uses[0]`; a flow as a part; a job that returns a
        flow; or a job that appends one more job.
    :ivar before: the places of what it waits for.
    :ivar uses: those of them whose results it takes.
    :ivar policy: what a failure of those means.
    :ivar end: how it ends when it runs.
    :ivar fails: how many of its attempts fail before that.
    :ivar size: of its list.
    :ivar bad: the element of the list whose job is discarded; -1 for none.
    :ivar inner: the flow of a part or a graft.
    :ivar appended: what the appended job waits for.
    """

    name: str
    kind: Kind = "job"
    before: list[int] = field(default_factory=list[int])
    uses: list[int] = field(default_factory=list[int])
    policy: Any = "cancel"
    end: End = "completed"
    fails: int = 0
    size: int = 0
    bad: int = -1
    inner: list[Step] = field(default_factory=list["Step"])
    appended: list[int] = field(default_factory=list[int])


def drawn(chance: random.Random, most: int, prefix: str = "", depth: int = 0) -> list[Step]:
    """A flow of up to `most` nodes, those of flows inside it counted."""
    steps: list[Step] = []
    left = chance.randint(2, most)
    while left > 0:
        place = len(steps)
        kinds: list[Any] = ["job"] * 12 + ["list"] * 2
        kinds += ["map"] * 3 if any(step.kind == "list" for step in steps) else []
        kinds += ["append"] if place else []
        kinds += ["part", "graft"] if depth < MOST_DEPTH and left >= 4 else []
        step = Step(f"{prefix}{place}", chance.choice(kinds))
        near = range(max(place - 12, 0), place)
        step.before = sorted(chance.sample(near, min(len(near), chance.choice([0, 1, 1, 1, 2, 3]))))
        step.policy = chance.choice(["cancel"] * 14 + ["ignore"] * 8 + ["wait"])
        if step.kind == "map":
            over = chance.choice([other for other, one in enumerate(steps) if one.kind == "list"])
            step.before, step.uses = sorted({*step.before, over}), [over]
            step.size, step.bad = steps[over].size, -1 if chance.random() < 0.7 else 0
            left -= step.size
        elif step.kind == "list":
            step.size = chance.randint(0, 4)
        elif step.kind in ("part", "graft"):
            step.inner = drawn(chance, min(left - 1, 15), f"{step.name}.", depth + 1)
            left -= sum(1 for _ in every(step.inner))
        elif step.kind == "append":
            step.appended = chance.sample(range(place), min(place, 2))
            left -= 1
        if step.kind == "job":
            step.uses = [one for one in step.before if gives(steps[one]) and chance.random() < 0.5]
        if step.kind in ("job", "list"):
            ends: list[Any] = ["completed"] * 12 + ["discarded", "cancelled"]
            step.end = chance.choice(ends)
            step.fails = chance.choice([0] * 9 + [1])
        steps.append(step)
        left -= 1
    return steps


def gives(step: Step) -> bool:
    """Whether it has a result that can be used."""
    return step.kind != "append" and (step.kind != "part" or gives(step.inner[-1]))


def every(steps: list[Step]) -> Iterator[Step]:
    """All nodes, those of flows inside it too."""
    for step in steps:
        yield step
        yield from every(step.inner)


async def _began(engine: AsyncEngine, job: Job) -> bool:
    """Note that a run has begun; whether nothing fails any more."""
    async with engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO chaos_runs VALUES (:id, :attempt)"), {"id": job.id, "attempt": job.attempt}
        )
        return bool(await connection.scalar(text("SELECT EXISTS (SELECT FROM chaos_healed)")))


def _fail(job: Job, healed: bool, end: str, fails: int) -> None:
    if job.attempt <= fails:
        raise ValueError("as the model says")
    if not healed and end != "completed":
        raise Discard("as the model says") if end == "discarded" else Cancel("as the model says")


@job(queue=QUEUE, max_attempts=50, backoff=0.05, name="chaos.step")
async def step_job(
    job: Job, oban: Oban, name: str, end: str, fails: int, inputs: list[Any], session: AsyncSession = injected()
) -> Any:
    """Write what it has got, and end as the model says."""
    healed = await _began(oban.engine, job)
    await session.execute(
        text("INSERT INTO chaos_effects VALUES (:id, :attempt, to_jsonb(CAST(:inputs AS json)))"),
        {"id": job.id, "attempt": job.attempt, "inputs": json.dumps(inputs)},
    )
    _fail(job, healed, end, fails)
    return name


@job(queue=QUEUE, max_attempts=50, backoff=0.05, name="chaos.list")
async def list_job(job: Job, oban: Oban, end: str, fails: int, size: int) -> list[int]:
    """Return a list."""
    healed = await _began(oban.engine, job)
    _fail(job, healed, end, fails)
    return [*range(size)]


@job(queue=QUEUE, max_attempts=50, backoff=0.05, name="chaos.piece")
async def piece_job(job: Job, oban: Oban, element: int, bad: int) -> int:
    """Return the element."""
    if not await _began(oban.engine, job) and element == bad:
        raise Discard("as the model says")
    return element


@job(queue=QUEUE, max_attempts=50, backoff=0.05, name="chaos.graft")
async def graft_job(job: Job, oban: Oban, plan: list[Any]) -> Workflow:
    """Return a workflow."""
    await _began(oban.engine, job)
    return built([_step(one) for one in plan])


@job(queue=QUEUE, max_attempts=50, backoff=0.05, name="chaos.append")
async def append_job(job: Job, oban: Oban, name: str, after: list[str], policy: str) -> None:
    """Append one more."""
    await _began(oban.engine, job)
    try:
        spec = step_job.new(name=f"{name}+", end="completed", fails=0, inputs=[])
        chosen: Any = policy
        await flow_of(job).append(spec, name=f"{name}+", after=after, on_failure=chosen)
    except InvalidOption:  # a run that was killed has appended it
        if job.attempt == 1:
            raise


def _step(one: dict[str, Any]) -> Step:
    fields: dict[str, Any] = {**one, "inner": [_step(inner) for inner in one["inner"]]}
    return Step(**fields)


def _piece(bad: int) -> Callable[[int], JobSpec[int]]:
    return lambda element: piece_job.new(element, bad)


def built(steps: list[Step], name: str = "chaos") -> Workflow:
    """The workflow. It returns the result of its last node."""
    flow = Workflow(name)
    nodes: list[Any] = []
    for step in steps:
        after = [nodes[place] for place in step.before]
        options: dict[str, Any] = {"name": step.name, "after": after, "on_failure": step.policy}
        match step.kind:
            case "list":
                node: Any = flow.add(list_job.new(end=step.end, fails=step.fails, size=step.size), **options)
            case "map":
                node = flow.map(_piece(step.bad), over=nodes[step.uses[0]].result, **options)
            case "part":
                node = flow.add(built(step.inner), **options)
            case "graft":
                node = flow.add(graft_job.new(plan=[asdict(one) for one in step.inner]), **options)
            case "append":
                names = [steps[place].name for place in step.appended]
                node = flow.add(append_job.new(name=step.name, after=names, policy=step.policy), **options)
            case _:
                inputs = [nodes[place].result for place in step.uses]
                spec = step_job.new(name=step.name, end=step.end, fails=step.fails, inputs=inputs)
                node = flow.add(spec, **options)
        nodes.append(node)
    if gives(steps[-1]):
        flow.returns(nodes[-1])
    return flow


@dataclass(slots=True)
class Ended:
    """How a node or a flow ends: ``o`` open, ``d`` done or ``f`` failed; its state, and its value."""

    outcome: str
    state: str
    value: Any = None


class Model:
    """How a flow ends by the rules, without a node being killed or a user changing it.

    :ivar states: the state of each job, by the name of its node; of the jobs of a map by name and place.
    :ivar inputs: what each job got that ran.
    """

    def __init__(self, steps: list[Step]) -> None:
        self.states: dict[str, str] = {}
        self.inputs: dict[str, list[Any]] = {}
        self.flow = self._flow(steps, [])

    def _flow(self, steps: list[Step], around: list[tuple[str, str]]) -> Ended:
        ended: list[Ended] = []
        parts: dict[int, Ended] = {}
        waited = {place for step in steps for place in step.before}
        states: list[tuple[str, bool]] = []
        for place, step in enumerate(steps):
            edges = [*around, *((ended[before].outcome, step.policy) for before in step.before)]
            if step.kind == "part":
                found = parts[place] = self._flow(step.inner, edges)
                ended.append(found)
                continue
            state = _judged(edges)
            found = Ended("o", state)
            if state == "runs":
                found, inner = self._run(step, ended)
                if inner is not None:
                    parts[place] = inner
            elif state == "cancelled":
                found = Ended("f", state)
            self.states[step.name] = found.state
            ended.append(found)
        for step, one in zip(steps, ended, strict=True):
            if step.kind == "append" and one.state == "completed":
                waited.update(step.appended)
                edges = [(ended[place].outcome, step.policy) for place in step.appended]
                state = _judged(edges)
                self.states[f"{step.name}+"] = "completed" if state == "runs" else state
                states.append((self.states[f"{step.name}+"], False))
        states += [(self.states[step.name], place in waited) for place, step in enumerate(steps) if step.kind != "part"]
        last = ended[-1].value if gives(steps[-1]) else None
        return _whole(states, [(one.state, place in waited) for place, one in parts.items()], last)

    def _run(self, step: Step, ended: list[Ended]) -> tuple[Ended, Ended | None]:
        """What becomes of a job, and the flow that takes its place."""
        if step.kind == "graft":
            inner = self._flow(step.inner, [])
            return Ended(inner.outcome, "completed", inner.value), inner
        if step.kind == "map":
            over = ended[step.uses[0]].value
            if over is None:
                return Ended("f", "discarded"), None
            pieces = ["discarded" if element == step.bad else "completed" for element in over]
            for element, state in enumerate(pieces):
                self.states[f"{step.name}[{element}]"] = state
            values = [None if element == step.bad else element for element in over]
            inner = _whole([(state, False) for state in pieces], [], values)
            return Ended(inner.outcome, "completed", values), inner
        if step.kind == "job":
            self.inputs[step.name] = [ended[place].value for place in step.uses]
        if step.kind == "append" or step.end == "completed":
            value = {"list": [*range(step.size)], "append": None}.get(step.kind, step.name)
            return Ended("d", "completed", value), None
        return Ended("f", step.end), None


def _judged(edges: list[tuple[str, str]]) -> str:
    """Whether a job with these edges, each an outcome and a policy, is cancelled, stays suspended, or runs."""
    if any(outcome == "f" and policy == "cancel" for outcome, policy in edges):
        return "cancelled"
    if any(outcome == "o" or (outcome == "f" and policy == "wait") for outcome, policy in edges):
        return "suspended"
    return "runs"


def _whole(jobs: list[tuple[str, bool]], parts: list[tuple[str, bool]], value: Any) -> Ended:
    """How a flow ends, by its jobs and the flows inside it, each a state and whether something waits for it."""
    if any(state == "suspended" for state, _ in jobs) or any(state == "executing" for state, _ in parts):
        return Ended("o", "executing", value)
    if all(state == "completed" or is_waited for state, is_waited in (*jobs, *parts)):
        return Ended("d", "completed", value)
    failed = any(state == "discarded" for state, _ in jobs) or any(state == "failed" for state, _ in parts)
    return Ended("f", "failed" if failed else "cancelled", value)
