"""Limits shared by all machines: rates that are counted by Prefect's global concurrency limits, bought in blocks.

What a limit has left is asked before it is bought. A purchase that Prefect refuses costs all waiting processes what
came in since the last one: the refusal is written down with the time, and what has decayed by then is forgotten
(Prefect 3.8.8, ``bulk_update_denied_slots``). Units are counted in parts, since Prefect rounds down what has decayed at
each purchase.

Plain HTTP, since it is done in threads of the engine. Source: https://docs.prefect.io/v3/concepts/global-concurrency-limits
"""

from __future__ import annotations

import math
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from penstock.engine.shared import NotSold, Rate, Sale, offer_seller
from penstock.errors import InputError, LimitsDiffer
from penstock.flow.connection import Connection
from penstock.flow.flow_runs import running_api
from penstock.flow.rest import Answer, Api, ServerRefused, ServerUnavailable, call
from penstock.spec.model import Spec

_LIMITS = "/v2/concurrency_limits"
_MISSING, _CONFLICT, _LOCKED = 404, 409, 423
_TIMEOUT = 5.0
_PATIENCE = 3.0
_IN_USE_SECONDS = 60.0
_LEAST_WAIT = 0.05
_PARTS = {"requests": 100, "tokens": 10}
"""Slots of one unit."""
_MOST_SLOTS = 2**31 - 1


class PrefectSeller:
    """Sells units of rates that a Prefect server counts, and makes each rate known to it first."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def __call__(self, rate: Rate, least: float, most: float) -> Sale:
        """Buy; see `penstock.engine.shared.Seller`."""
        try:
            return self._sell(rate, least, most)
        except ServerUnavailable as error:
            raise NotSold(str(error)) from None

    def _sell(self, rate: Rate, least: float, most: float) -> Sale:
        parts = _PARTS[rate.unit]
        per_second = rate.per_minute * parts / 60
        free = self._free(rate, _slots(rate))
        if free < least * parts:
            return Sale(0.0, max((least * parts - free) / per_second, _LEAST_WAIT))
        slots = min(free, math.floor(most * parts))
        wanted = {"names": [rate.name], "slots": slots, "mode": "rate_limit"}
        try:
            sold = self._call("POST", "/increment", wanted).body
        except ServerRefused as error:
            if error.status == _LOCKED:
                # Somebody else was faster, by milliseconds.
                return Sale(0.0, max(slots / per_second, _LEAST_WAIT))
            raise
        if not sold:
            # Of a limit that is not there Prefect sells without end.
            raise NotSold(f"the limit {rate.name} was deleted")
        return Sale(slots / parts)

    def _free(self, rate: Rate, settings: dict[str, Any]) -> int:
        """Slots that may be bought now; the limit is made where there is none, and corrected where nobody uses it.

        Raises:
            LimitsDiffer: it is in use with other numbers.
        """
        path = "/" + quote(rate.name)
        try:
            answer = self._call("GET", path)
        except ServerRefused as error:
            if error.status != _MISSING:
                raise
            self._make(rate, settings)
            return int(settings["limit"])
        found = answer.body
        if not found["active"]:
            raise NotSold(f"the limit {rate.name} is switched off there")
        told = found["limit"], found["slot_decay_per_second"]
        if not _same(told, settings):
            if _idle_seconds(answer) < _IN_USE_SECONDS:
                raise LimitsDiffer(
                    f"this pipeline shares {rate}, but other runs are sharing {_per_minute(rate, told[1])} of them "
                    f"now (the limit {rate.name} of the Prefect server at {self._api.url}). Write the same number in "
                    "all pipelines; a new one holds as soon as none has used the old one for a minute"
                )
            self._call("PATCH", path, settings)
        return max(0, int(settings["limit"]) - int(found["active_slots"]))

    def _make(self, rate: Rate, settings: dict[str, Any]) -> None:
        try:
            self._call("POST", "/", {"name": rate.name, "active": True, **settings})
        except ServerRefused as refused:
            # Another process has made it meanwhile: the same number or not, the next look tells.
            if refused.status != _CONFLICT:
                raise

    def _call(self, method: str, path: str, body: Any = None) -> Answer:
        return call(self._api, method, _LIMITS + path, body, timeout=_TIMEOUT, patience=_PATIENCE)


def _slots(rate: Rate) -> dict[str, Any]:
    """The rate in the words of Prefect."""
    parts = _PARTS[rate.unit]
    limit = min(math.ceil(rate.burst * parts), _MOST_SLOTS)
    return {"limit": limit, "slot_decay_per_second": rate.per_minute * parts / 60}


def _same(told: tuple[int, float], wanted: dict[str, Any]) -> bool:
    decay = wanted["slot_decay_per_second"]
    return bool(told[0] == wanted["limit"] and math.isclose(told[1], decay, rel_tol=1e-6))


def _per_minute(rate: Rate, decay: float) -> str:
    return f"{decay * 60 / _PARTS[rate.unit]:,.0f}"


def _idle_seconds(answer: Answer) -> float:
    """How long ago somebody bought, by the server's own clock."""
    written, now = answer.body.get("updated"), answer.headers.get("date")
    if not written or not now:
        return 0.0
    return (parsedate_to_datetime(now) - datetime.fromisoformat(written)).total_seconds()


def offer_shared_limits() -> None:
    """Let this process buy from the Prefect server that it runs under."""
    api = running_api()
    offer_seller(PrefectSeller(api) if api is not None else None)


def check_shared(spec: Spec, connection: Connection) -> None:
    """Make sure that limits which are to be shared can be.

    Raises:
        InputError: they cannot: there is only the server that this machine keeps for itself.
    """
    named = [name for name, provider in spec.used_providers.items() if provider.limits.shared]
    if named and connection.kind == "embedded":
        raise InputError(
            f"provider {named[0]!r} shares its limits (limits.shared: prefect), and there is only the Prefect server "
            "that Penstock starts on this machine for itself: start one that all machines reach (prefect server start "
            "--host 0.0.0.0) and name it on each (export PREFECT_API_URL=http://HOST:4200/api), or take `shared` away"
        )
