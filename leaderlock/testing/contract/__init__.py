"""What every driver promises, as tests (needs pytest)."""

from __future__ import annotations

from leaderlock.testing.contract._hooks import HOOKS
from leaderlock.testing.contract._keys import Keys
from leaderlock.testing.contract._lifecycle import Lifecycle
from leaderlock.testing.contract._memory import Memory
from leaderlock.testing.contract._racing import Racing
from leaderlock.testing.contract._registers import Registers
from leaderlock.testing.contract._replies import Replies
from leaderlock.testing.contract._watching import Watching

__all__ = ["HOOKS", "BackendContract"]


class BackendContract(Registers, Keys, Memory, Racing, Replies, Watching, Lifecycle):
    """This class holds a driver to the specification in :mod:`leaderlock.backend`, a test for each property.

    It does not prove durability, and a race that a machine never runs into it does not find. Subclass it, with a name
    that pytest collects, and give fixtures::

        class TestMyStore(BackendContract):
            unsupported = {"freeze": "an embedded library has nobody that could fall silent"}

            @pytest.fixture
            def make_backend(self, tmp_path):
                return lambda namespace: open_backend(f"mystore:{tmp_path}/file", namespace=namespace)

    ``make_backend`` must be given: a function that opens another client each time, on the same store, of the namespace
    named. Every test gets a fresh namespace from the fixture ``namespace``, which the other hooks may ask for.

    The other hooks do to the store what a client cannot; each is given, or named in ``unsupported`` with the reason.
    One that is neither fails the tests that need it: what was not tested does not pass.

    - ``restart_store``: ``() -> None``, stops the store and starts it again in good order, on the same address.
    - ``wipe_store``: ``() -> None``, removes all that the namespace holds, the driver's own marks too.
    - ``delete_by_hand``: ``(key) -> None``, removes one register with the store's own tools.
    - ``overwrite_by_hand``: ``(key, value) -> None``, writes one register with the store's own tools.
    - ``outage``: ``() -> context manager``, within which nobody reaches the store (connections are refused).
    - ``freeze``: ``() -> context manager``, within which the store takes requests and does not answer (``SIGSTOP``).
    """
