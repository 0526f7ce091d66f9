"""What readers and tools see of a worker, and the parameters that the runtime fills in."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pydoc
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import InvalidArgs, InvalidOption, Job, JobSpec, injected, job, worker
from oban_sqla.workers.registry import workers


@pytest.fixture(autouse=True)
def _forget_workers() -> Iterator[None]:
    before = set(workers)
    yield
    workers.remove(set(workers) - before)


PLAIN: Any = pydoc.plaintext  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


class Label: ...


async def coroutine(user_id: int) -> int:
    return user_id


def test_signature_and_help_are_the_functions() -> None:
    @job(name="tests.decoration.help")
    async def send_welcome(session: AsyncSession, user_id: int, greeting: str = "Hello", *, current: Job) -> None:
        """Welcome a user."""

    new = inspect.signature(send_welcome.new)
    assert list(new.parameters) == ["user_id", "greeting"]
    assert new.parameters["greeting"].default == "Hello"
    assert list(inspect.signature(send_welcome).parameters) == ["session", "user_id", "greeting", "current"]
    assert list(inspect.signature(send_welcome.options(queue="x").new).parameters) == ["user_id", "greeting"]
    text = pydoc.render_doc(send_welcome, renderer=PLAIN)
    # From Python 3.13 on a long signature is wrapped.
    assert "send_welcome(session:'AsyncSession',user_id:'int',greeting:'str'='Hello',*" in "".join(text.split())
    assert "Welcome a user." in text
    assert "Make a job that calls the function" in pydoc.render_doc(send_welcome.new, renderer=PLAIN)


def test_signature_of_a_class_worker_has_its_options() -> None:
    @worker(name="tests.decoration.Signature")
    class Report:
        def process(self, job: Job) -> None: ...

    parameters = inspect.signature(Report.new).parameters
    assert list(parameters)[:2] == ["args", "queue"]
    assert "schedule_in" in parameters
    assert "Make a job that the class's" in pydoc.render_doc(Report.new, renderer=PLAIN)


def test_standard_library_takes_a_coroutine_functions_worker_for_one() -> None:
    known = inspect.iscoroutinefunction if sys.version_info >= (3, 12) else asyncio.iscoroutinefunction
    assert known(job(name="tests.decoration.known")(coroutine))
    assert not known(job(name="tests.decoration.plain")(lambda user_id: None))


# Parameters that the runtime fills in.


class TenantSession(AsyncSession): ...


class TenantPlainSession(Session): ...


def test_subclass_of_a_session_is_filled_in() -> None:
    @job(name="tests.decoration.tenant")
    async def run(user_id: int, session: TenantSession | None = None) -> None: ...

    @job(name="tests.decoration.plain_tenant")
    def run_plainly(user_id: int, session: TenantPlainSession) -> None: ...

    assert run.worker.session_kind is TenantSession
    assert run_plainly.worker.session_kind is TenantPlainSession
    assert JobSpec(run, {"user_id": 7}).args == {"user_id": 7}


def test_marked_parameter_is_filled_in_wherever_it_stands() -> None:
    @job(name="tests.decoration.marked")
    async def run(session: AsyncSession = injected(), user_id: int = 1, *, current: Job = injected()) -> str:
        return f"{session} {user_id} {current}"

    assert run.worker.arguments is not None
    assert set(run.worker.arguments.injected) == {"session", "current"}
    assert run.new(user_id=7).args == run.new(7).args == {"user_id": 7}


def test_direct_call_that_leaves_out_what_the_runtime_fills_in_raises() -> None:
    @job(name="tests.decoration.direct")
    def run(user_id: int, session: Session = injected()) -> object:
        return session

    session = Session()
    assert run(7, session) is run(7, session=session) is session
    with pytest.raises(InvalidArgs, match=r"run\(\): 'session' is filled in when it runs as a job; give it in a"):
        run(7)
    with pytest.raises(TypeError, match="unexpected keyword argument 'user'"):
        run(user=7)  # type: ignore[call-arg]


def test_mark_on_what_no_runtime_provides_is_refused_at_once() -> None:
    def run(client=injected()) -> None: ...  # type: ignore[no-untyped-def]  # pyright: ignore[reportUnknownParameterType, reportMissingParameterType]

    with pytest.raises(InvalidOption, match=r"client = injected\(\): annotate it with the type of the object"):
        job(run)  # pyright: ignore[reportUnknownArgumentType]

    def run_with_spec(spec: JobSpec = injected()) -> None: ...

    with pytest.raises(InvalidOption, match=r"spec = injected\(\): JobSpec is a class of oban_sqla"):
        job(run_with_spec)


def test_dependency_of_fastapi_is_refused_where_a_job_would_get_it_as_it_is() -> None:
    made: Any = Depends(Label)

    async def run(label: Label = made) -> None: ...
    async def with_session(session: AsyncSession = made) -> None: ...

    with pytest.raises(InvalidOption, match=r"run: label: nothing fills in Depends\(…\) in a job; write label: … ="):
        job(run)
    assert list(job(name="tests.injected.depends")(with_session).worker.arguments.injected) == ["session"]  # type: ignore[union-attr]


def test_first_parameter_that_another_queue_fills_in_is_named_where_an_argument_is_missing() -> None:
    @job(name="tests.injected.ctx")
    async def download(ctx, url: str) -> None: ...  # type: ignore[no-untyped-def]  # pyright: ignore[reportUnknownParameterType, reportMissingParameterType]

    @job(name="tests.injected.typed")
    async def typed(ctx: str, url: str) -> None: ...

    with pytest.raises(InvalidArgs, match=r"'url' is missing; 'ctx' is an argument, too: for .* runs write ctx: Job$"):
        download.new("https://example.org")  # pyright: ignore[reportCallIssue, reportUnknownMemberType]
    with pytest.raises(InvalidArgs, match=r"'url' is missing$"):
        typed.new("https://example.org")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_mark_that_would_make_an_argument_is_refused_at_once() -> None:
    async def uncalled(user_id: int, current: Any = injected) -> None: ...
    async def annotated(user_id: int, current: Annotated[str, Label(), injected()]) -> None: ...
    async def annotated_uncalled(user_id: int, current: Annotated[Session, injected]) -> None: ...

    for fn in (uncalled, annotated, annotated_uncalled):
        with pytest.raises(InvalidOption, match=rf"{fn.__name__}: current: the mark .* current: … = injected\(\)"):
            job(fn)
        fn.__annotations__["current"] = Annotated[Session, injected()]
        with pytest.raises(InvalidOption, match=r"current: … = injected\(\)"):
            job(fn)


def test_second_session_is_refused_at_once() -> None:
    async def run(session: AsyncSession, plain: Session) -> None: ...

    with pytest.raises(InvalidOption, match=r"run: session and plain are sessions, and a job has one, whose commit"):
        job(run)


def test_async_session_of_a_plain_function_is_refused_at_once() -> None:
    def run(session: TenantSession, user_id: int) -> None: ...

    with pytest.raises(InvalidOption, match=r"run: a plain function can't await its TenantSession, so no statement"):
        job(run)

    @functools.wraps(coroutine)
    def run_to_its_end(session: AsyncSession) -> None: ...

    job(name="tests.decoration.run_to_its_end", executor="thread")(run_to_its_end)
