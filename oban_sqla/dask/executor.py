"""The executor that ships calls to Dask."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any
from uuid import uuid4

from ..errors import ChildDied, InvalidOption, ObanError
from ..executors.perform import perform

try:
    import distributed as _typed_in_part
except ImportError as error:
    raise ImportError("oban_sqla.dask needs Dask's scheduler: pip install 'oban-sqla[dask]'") from error

distributed: Any = _typed_in_part


class DaskExecutor:
    """Runs jobs on the workers of a Dask cluster.

    ::

        client = Client("tcp://scheduler:8786")
        Oban(engine, queues={"default": 10}, executors={"dask": DaskExecutor(client)})

    The workers of the cluster need the program's modules, and the same version of this package.

    :param client: a ``distributed.Client``, or the address of a scheduler. The executor connects by itself.
    :param reruns: accept a scheduler whose ``distributed.scheduler.allowed-failures`` is not 0. Default False: such a
        scheduler runs a job again by itself when a worker is lost, within one attempt, so the start refuses it.
    :raises InvalidOption: for anything else than a client or an address.

    When a worker of the cluster is lost, its job is an attempt that failed. A kill is best effort: what waits for a
    worker is taken back; what runs goes on, and the node waits for its end, as it does for threads.
    """

    def __init__(self, client: Any, *, reruns: bool = False) -> None:
        if not isinstance(client, str | distributed.Client):
            raise InvalidOption(f"DaskExecutor: expected a distributed.Client or an address, got {client!r}")
        # Given, and never written again.
        self._given: Any = client
        self._reruns = reruns
        # The executor's own client, on the node's event loop: written by start() and stop().
        self._client: Any = None

    async def start(self, workers: Sequence[str]) -> None:
        """Connect to the scheduler.

        :param workers: the modules of the workers; the cluster imports them when the first job comes.
        :raises ObanError: when the scheduler does not answer.
        :raises InvalidOption: for a scheduler that runs a lost call again by itself.
        """
        given = self._given
        address, security = (given, None) if isinstance(given, str) else (given.scheduler.address, given.security)
        try:
            self._client = await distributed.Client(address, security=security, asynchronous=True, timeout=10)
        except OSError as error:
            raise ObanError(f"DaskExecutor: the scheduler at {address} does not answer: {error}") from error
        failures = await self._client.run_on_scheduler(_allowed_failures)
        if failures and not self._reruns:
            await self.stop()
            raise InvalidOption(
                f"DaskExecutor: the scheduler has allowed-failures = {failures}, so it runs a job again by itself when "
                "a worker is lost, within one attempt. Set distributed.scheduler.allowed-failures to 0 where the "
                "scheduler runs, or accept it: DaskExecutor(client, reruns=True)"
            )

    def submit(self, payload: bytes) -> DaskRun:
        """Send a call to the cluster.

        :param payload: the call.
        """
        return DaskRun(self._client.submit(perform, payload, pure=False, key=f"oban-{uuid4().hex}", retries=0))

    async def kill(self, run: DaskRun) -> bool:
        """Take a call back that has not begun.

        :param run: what `submit` returned.
        :returns: whether it will not run; False where a worker has it already.
        """
        held = await self._client.processing()
        if any(run.future.key in map(str, keys) for keys in held.values()):
            return False
        await run.future.cancel()
        return True

    async def stop(self) -> None:
        """Disconnect; what runs on the cluster goes on."""
        if self._client is not None:
            await self._client.close()
            self._client = None


class DaskRun:
    """A call on the cluster.

    :param future: Dask's.
    """

    def __init__(self, future: Any) -> None:
        self.future = future

    def __await__(self) -> Generator[Any, None, bytes]:
        return self._answer().__await__()

    async def _answer(self) -> bytes:
        try:
            answer: bytes = await self.future.result()
        except distributed.KilledWorker as error:
            raise ChildDied(f"the Dask worker that ran the job was lost ({error.last_worker})") from error
        except Exception as error:
            raise ChildDied(f"the Dask cluster lost the job: {type(error).__name__}: {error}") from error
        finally:
            self.future.release()
        return answer


def _allowed_failures(dask_scheduler: Any) -> int:
    return int(dask_scheduler.allowed_failures)
