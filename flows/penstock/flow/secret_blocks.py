"""Keys in Secret blocks of Prefect: ``api_key: ${prefect-secret:openai-key}``.

A block is read by plain HTTP in the process that sends requests, when a client is made, and is kept in memory only.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from penstock.errors import InputError
from penstock.flow.flow_runs import running_api
from penstock.flow.rest import ServerRefused, ServerUnavailable, call
from penstock.secrets import PREFECT_SECRET, offer_place, remember

_HOW = "make it in Prefect's UI under Blocks, or in Python: Secret(value=…).save({name!r})"


def read_block(name: str) -> str:
    """The value of a Secret block.

    Raises:
        InputError: there is none of that name, it is no text, or no Prefect API answers.
    """
    api = running_api()
    if api is None:
        raise InputError(f"the Secret block {name!r} is asked of a Prefect server, and none is configured")
    path = f"/block_types/slug/secret/block_documents/name/{quote(name)}?include_secrets=true"
    try:
        found = call(api, "GET", path, timeout=10, patience=30).body
    except ServerRefused as error:
        if error.status == 404:
            how = _HOW.format(name=name)
            raise InputError(f"the Prefect API at {api.url} has no Secret block {name!r}; {how}") from None
        raise InputError(f"the Secret block {name!r} cannot be read: {error}") from None
    except ServerUnavailable as error:
        raise InputError(f"the Secret block {name!r} cannot be read: {error}") from None
    value = found.get("data", {}).get("value")
    if not isinstance(value, str):
        raise InputError(f"the Secret block {name!r} does not hold a text")
    remember(value)
    return value


def offer_blocks(needed: Iterable[str] = ()) -> None:
    """Let this process read keys from blocks, and make sure that those needed are there.

    Raises:
        InputError: see `read_block`.
    """
    offer_place(PREFECT_SECRET, read_block)
    for name in needed:
        read_block(name)
