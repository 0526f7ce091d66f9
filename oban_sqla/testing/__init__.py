"""Test code that enqueues jobs, and the jobs, in the transaction of the test.

::

    from oban_sqla.testing import assert_enqueued, drain, mode, perform

    async def test_sign_up_sends_a_welcome(session):          # an AsyncSession that the fixture rolls back
        user = await sign_up(session, email="ann@example.com")
        await assert_enqueued(session, worker=send_welcome, args={"user_id": user.id})
        assert await drain(session) == {"completed": 1}
        assert user.welcomed_at is not None

Each function works on the connection of the given session and on no other one, so a rollback removes everything. Await
the calls with an ``AsyncSession``, and don't with a ``Session``. The names are those of Oban's ``Oban.Testing``;
running jobs in the test's own transaction is what its sandbox does.

Belongs here: what a user's tests call. Does not: the tests of this package, and anything that a running node uses.
"""

from .clock import clock
from .drain import drain
from .enqueued import all_enqueued, assert_enqueued, refute_enqueued
from .mode import mode
from .perform import perform
from .queued import check_queued
from .resources import resources

__all__ = [
    "all_enqueued",
    "assert_enqueued",
    "check_queued",
    "clock",
    "drain",
    "mode",
    "perform",
    "refute_enqueued",
    "resources",
]
