"""The job's own thread: it brings packs to the engine's loop as long as there is room, and outcomes to the sink.

Sources and sinks are the caller's code: they run in the caller's thread, so that a slow disk or a slow source never
holds up the network, and their exceptions arise where they belong.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from itertools import islice
from queue import Empty

from penstock.engine.control import RunControl
from penstock.engine.dispatch import Dispatch, Ended
from penstock.engine.pack import Pack
from penstock.errors import StorageFailed
from penstock.items import Delivered, Failed, Sink

_MOST_PACKS_AT_ONCE = 64
_SPARE_PACKS = 8
STORAGE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})
"""What the system says of a disk that is full, closed or broken: no bug, and the run can be resumed."""


class Driver:
    """Feeds one `Dispatch` and empties its outbox.

    Args:
        packs: lazily, all packs of the job.
        width: how many requests may be in flight now; asked again and again, from this thread.
        call: runs a function in the engine's loop, soon.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        packs: Iterator[Pack],
        *,
        sink: Sink,
        control: RunControl,
        width: Callable[[], int],
        call: Callable[..., object],
    ) -> None:
        self._dispatch = dispatch
        self._outbox = dispatch.outbox
        self._packs = packs
        self._sink = sink
        self._control = control
        self._width = width
        self._call = call
        self._exhausted = False
        self._packs_handed = 0
        self._items_handed = 0
        self._items_settled = 0
        self._disk_works = True
        self._refused: Exception | None = None
        self._unkept = 0
        self._over = False

    def run(self) -> None:
        """Until every item has its outcome, or the run stops.

        Raises:
            RunStopped: the run stops before that.
            BaseException: whatever the source, the sink or the step raised, unchanged.
        """
        try:
            self._drive()
        finally:
            try:
                if not self._over:
                    self._give_up()
            finally:
                self._call(self._dispatch.close)

    def _drive(self) -> None:
        while True:
            hungry = self._feed()
            for outcome in self._outcomes(wait=not hungry):
                if isinstance(outcome, Ended):
                    self._finish(outcome)
                    return
                self._take(outcome)
            self._keep()

    def _feed(self) -> bool:
        """Hand over packs while there is room; whether there is room for more than was handed over."""
        if self._exhausted or self._control.stopped is not None:
            return False
        window = self._width() * 3 // 2 + _SPARE_PACKS
        room = window - self._packs_out()
        if room < max(1, window // 8):
            return False
        wanted = min(room, _MOST_PACKS_AT_ONCE)
        batch = list(islice(self._packs, wanted))
        self._exhausted = len(batch) < wanted
        self._packs_handed += len(batch)
        self._items_handed += sum(len(pack.items) for pack in batch)
        self._call(lambda: self._dispatch.take(batch, last=self._exhausted))
        return room > wanted and not self._exhausted

    def _packs_out(self) -> int:
        # Packs may be halved on their way, so their number is told by their items.
        if not self._packs_handed:
            return 0
        return (self._items_handed - self._items_settled) * self._packs_handed // self._items_handed

    def _outcomes(self, *, wait: bool) -> Iterator[Delivered | Failed | Ended]:
        if wait:
            yield self._outbox.first()
        while True:
            try:
                yield self._outbox.first(wait=False)
            except Empty:
                return

    def _take(self, outcome: Delivered | Failed) -> None:
        try:
            self._hand_over(outcome)
        except Exception:
            # The sink has refused it, and would again.
            self._outbox.taken()
            raise
        self._outbox.taken()

    def _hand_over(self, outcome: Delivered | Failed) -> None:
        if isinstance(outcome, Delivered):
            self._items_settled += len(outcome.items)
            self._unkept += len(outcome.items)
            self._sunk(self._sink.delivered, outcome)
            if len(outcome.items) > 1:
                self._keep()
        else:
            self._items_settled += 1
            self._sunk(self._sink.failed, outcome)

    def _keep(self) -> None:
        """Have the sink keep what it took; what it took up in memory is free then."""
        if not self._unkept:
            return
        try:
            self._sunk(self._sink.flush)
        finally:
            kept, self._unkept = self._unkept, 0
            self._call(self._dispatch.stored, kept)

    def _sunk(self, work: Callable[..., None], *given: Delivered | Failed) -> None:
        if not self._disk_works:
            return
        try:
            work(*given)
        except Exception as error:
            if not isinstance(error, OSError) or error.errno not in STORAGE_ERRORS:
                self._refused = self._refused or error
                raise
            self._disk_works = False
            self._control.request_stop(_storage_failed(error))

    def _finish(self, ended: Ended) -> None:
        # Nothing comes after this, so nobody is to wait for more if the sink raises.
        self._over = True
        self._keep()
        if ended.error is not None:
            raise ended.error
        if not self._exhausted or self._items_settled < self._items_handed or not self._disk_works:
            self._control.check()

    def _give_up(self) -> None:
        """An exception of the source, the sink or a signal is on its way: keep what is paid, then let it go on.

        What the sink raises for one answer takes no other with it: the first such exception is the one that goes on.
        """
        refused = self._refused
        self._call(self._dispatch.stop)
        while not isinstance(outcome := self._outbox.first(), Ended):
            self._settled(self._take, outcome)
        self._settled(self._keep)
        self._over = True
        if refused is None and self._refused is not None:
            raise self._refused

    def _settled(self, work: Callable[..., None], *given: Delivered | Failed) -> None:
        """Do what may have the sink raise, and remember it."""
        try:
            work(*given)
        except Exception as error:  # noqa: BLE001  # goes on once the answers behind it are kept
            self._refused = self._refused or error


def _storage_failed(error: OSError) -> StorageFailed:
    place = f" {error.filename}" if error.filename else ""
    return StorageFailed(
        f"an answer could not be stored: {error.strerror or error}{place}. "
        f"Make room, or make the folder writable, then resume; what was stored before is kept"
    )
