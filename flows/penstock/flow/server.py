"""Which Prefect API a run talks to: the user's own, or an embedded server that is found or started.

Nothing here imports Prefect: its settings freeze at import, so the address must be in the environment before. The
order is: what the user configured (asked at once whether it is alive, never passed over in silence), the embedded
server that an earlier run left, a new one. ::

    boot = begin()              # returns at once; a server that must be started is starting now
    ...                         # plan meanwhile
    connection = boot.wait()    # blocks until the API answers; now Prefect may be imported
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from penstock.api.routes import check_proxies
from penstock.errors import InputError
from penstock.flow.configured import Configured, configured_api
from penstock.flow.connection import Connection, connect_prefect, forget_own
from penstock.flow.embedded import START_LIMIT, Hold, hold, nothing
from penstock.flow.rest import Api, ServerRefused, ServerUnavailable, call
from penstock.flow.server_folder import TOKEN_HEADER, ServerFolder, idle_limit

__all__ = ["Boot", "Connection", "ServerRefused", "ServerUnavailable", "begin", "scheduling_api"]

_FALSE = {"0", "false", "no", "off"}
_PATIENCE = 25.0


@dataclass(slots=True)
class Boot:
    """A Prefect API that was chosen and may not answer yet; `wait` for it before Prefect is imported.

    Attributes:
        target: the API that the user configured, or the hold on the embedded server.
    """

    target: Api | Hold

    @property
    def is_starting(self) -> bool:
        """Whether this process has started a server, which takes some seconds to answer."""
        return isinstance(self.target, Hold) and self.target.is_ours

    def wait(self, limit: float = START_LIMIT, while_waiting: Callable[[], None] = nothing) -> Connection:
        """Block until the API answers, with its address in the environment and, while it starts, import Prefect.

        Args:
            limit: seconds after which the server counts as failed.
            while_waiting: called every moment of a start, for a spinner.

        Raises:
            ServerUnavailable: the server ended or did not answer in time; with the end of its log.
        """
        if isinstance(self.target, Hold):
            if self.is_starting:
                # The address is known before the server answers: Prefect's import takes as long as half its start.
                connect_prefect(Api(self.target.record.url), "embedded")
                importlib.import_module("penstock.flow.run")
            return connect_prefect(self.target.wait(limit, while_waiting), "embedded")
        return connect_prefect(self.target, "configured")

    def release(self) -> None:
        """Say that this process needs the embedded server no more; the end of the process says it too."""
        if isinstance(self.target, Hold):
            self.target.release()


def begin(*, keep: bool | None = None) -> Boot:
    """Decide which Prefect API to use, and start the embedded server when it is needed and not there.

    Args:
        keep: False ends the embedded server with its last client, however that ends; True lets it wait for the
            next run (``PENSTOCK_SERVER_IDLE``). None asks ``PENSTOCK_SERVER_KEEP``, which is 1 if not set.

    Raises:
        ServerUnavailable: the Prefect API that the user configured does not answer.
        InputError: a settings file, ``PENSTOCK_SERVER_IDLE`` or the address of a proxy cannot be read.
        StorageFailed: the folder of the embedded server cannot be made.
    """
    # Prefect's own client would show what it cannot read of it, which may be a password.
    check_proxies()
    forget_own()
    if configured := configured_api():
        _probe(configured)
        return Boot(configured.api)
    if keep is None:
        keep = os.environ.get("PENSTOCK_SERVER_KEEP", "1").strip().lower() not in _FALSE
    is_asked = not keep or bool(os.environ.get("PENSTOCK_SERVER_IDLE"))
    return Boot(hold(ServerFolder.of_user(), idle_limit() if keep else 0.0, is_asked=is_asked))


def scheduling_api() -> Api:
    """The Prefect API that the user configured, if it can run schedules.

    Raises:
        InputError: none is configured, or it is an embedded server, which has no scheduler.
        ServerUnavailable: it does not answer.
    """
    forget_own()
    configured = configured_api()
    if configured is None:
        raise InputError(
            "schedules need a Prefect server, and none is configured: the one that runs start by themselves has no "
            "scheduler. Start one with `prefect server start`, and name it: "
            "export PREFECT_API_URL=http://127.0.0.1:4200/api (or use Prefect Cloud: prefect cloud login)"
        )
    if TOKEN_HEADER in _probe(configured):
        raise InputError(
            f"{configured.api.url} (from {configured.origin}) is the server that runs start by themselves, and it has "
            "no scheduler: start another one with `prefect server start`"
        )
    return configured.api


def _probe(configured: Configured) -> Mapping[str, str]:
    """Ask the API that the user named whether it lives; the headers of its answer."""
    api = configured.api
    try:
        # A server that is busy at night answers late; one that is not there is known at once.
        return call(api, "GET", "/health", timeout=10, patience=_PATIENCE).headers
    except ServerRefused as error:
        if error.status in {401, 403}:
            raise ServerUnavailable(
                f"the Prefect API at {api.url} (from {configured.origin}) does not let us in (HTTP {error.status}): "
                "set PREFECT_API_KEY or PREFECT_API_AUTH_STRING"
            ) from None
        raise _dead(configured, error) from None
    except ServerUnavailable as error:
        raise _dead(configured, error) from None


def _dead(configured: Configured, error: ServerUnavailable) -> ServerUnavailable:
    return ServerUnavailable(
        f"no Prefect API: {error}. Its address comes from {configured.origin}: start that server "
        "(prefect server start), correct the address, or take it away to use the local server that Penstock starts"
    )
