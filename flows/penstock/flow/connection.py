"""A Prefect API that answered, and what Prefect must find in the environment before it is imported."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from penstock.flow.rest import Api

Kind = Literal["configured", "embedded"]
# The address of an embedded server that this process put into its environment: not the user's choice.
_OWN = "PENSTOCK_EMBEDDED_API_URL"
_CLOUD = "https://api.prefect.cloud/api/accounts/"


@dataclass(frozen=True, slots=True)
class Connection:
    """A Prefect API that answered.

    Attributes:
        api: its address, and what it takes to be let in.
        kind: ``configured`` when the user named it, ``embedded`` when it is ours.
        ui_url: where a person can look at runs, or empty (the embedded server has no UI).
    """

    api: Api
    kind: Kind
    ui_url: str = ""

    @property
    def url(self) -> str:
        """The API's address."""
        return self.api.url


def connect_prefect(api: Api, kind: Kind) -> Connection:
    """Put into the environment what Prefect reads at its import.

    Only what is not set yet, but for the address of an embedded server. Prefect's console handler is silenced, since
    the command line shows its own progress; the handler that sends logs to the API stays as it is.
    """
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    # What Prefect's background workers say of themselves does not go through that handler.
    os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")
    if kind == "configured":
        return Connection(api, kind, ui_url(api.url))
    os.environ["PREFECT_API_URL"] = os.environ[_OWN] = api.url
    os.environ.setdefault("DO_NOT_TRACK", "1")
    # Prefect's clients obey the proxy variables even for loopback.
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        if "127.0.0.1" not in hosts:
            os.environ[name] = ",".join([*hosts, "127.0.0.1"])
    return Connection(api, kind)


def forget_own() -> None:
    """Take an embedded server's address out of the environment again: that server may have ended since."""
    if (own := os.environ.pop(_OWN, None)) and os.environ.get("PREFECT_API_URL") == own:
        del os.environ["PREFECT_API_URL"]


def ui_url(api_url: str) -> str:
    """Where the UI of the API at `api_url` is, by Prefect's own rule; ``PREFECT_UI_URL`` goes before it."""
    if written := os.environ.get("PREFECT_UI_URL"):
        return written.rstrip("/")
    if api_url.startswith(_CLOUD):
        account, _, workspace = api_url.removeprefix(_CLOUD).partition("/workspaces/")
        return f"https://app.prefect.cloud/account/{account}/workspace/{workspace}"
    return api_url.removesuffix("/api")
