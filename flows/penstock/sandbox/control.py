"""``/_sandbox/...``: what the server has done, and faults changed while it runs. Needs no key."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from penstock.errors import InputError
from penstock.faults import parse_faults
from penstock.sandbox.errors import ApiError, unparsable_json
from penstock.sandbox.gates import CONTROL
from penstock.sandbox.settings import parse_latency
from penstock.sandbox.state import Sandbox

_FIELDS = {"faults", "latency", "poison", "seed"}


def routes(sandbox: Sandbox) -> list[Route]:
    """The control paths of a server."""

    async def stats(_request: Request) -> Response:
        return JSONResponse(sandbox.stats.report())

    async def reset(request: Request) -> Response:
        _refuse_web_pages(request)
        sandbox.reset()
        return JSONResponse({"reset": True})

    async def show_faults(_request: Request) -> Response:
        return JSONResponse(_current(sandbox))

    async def change_faults(request: Request) -> Response:
        _refuse_web_pages(request)
        try:
            value = msgspec.json.decode(await request.body())
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise unparsable_json() from None
        _change(sandbox, value)
        return JSONResponse(_current(sandbox))

    return [
        Route(f"{CONTROL}/stats", stats),
        Route(f"{CONTROL}/reset", reset, methods=["POST"]),
        Route(f"{CONTROL}/faults", show_faults, methods=["GET"]),
        Route(f"{CONTROL}/faults", change_faults, methods=["POST"]),
    ]


def _refuse_web_pages(request: Request) -> None:
    # Browsers send Origin with each POST; without a key this is what keeps foreign pages out.
    if "origin" in request.headers:
        raise ApiError(403, "The sandbox is not controlled from web pages.", code="origin_not_allowed")


def _current(sandbox: Sandbox) -> dict[str, Any]:
    return {
        "faults": [rule.text for rule in sandbox.faults.rules],
        "latency": list(sandbox.latency),
        "poison": list(sandbox.poison),
        "seed": sandbox.faults.seed,
    }


def _change(sandbox: Sandbox, value: Any) -> None:
    """Take over the fields that are there; the others stay as they are."""
    if not isinstance(value, dict) or value.keys() - _FIELDS:
        raise ApiError(400, f"Send a JSON object with any of: {', '.join(sorted(_FIELDS))}.", code="invalid_value")
    faults = _texts(value, "faults", [rule.text for rule in sandbox.faults.rules])
    poison = _texts(value, "poison", list(sandbox.poison))
    seed = value.get("seed", sandbox.faults.seed)
    latency = value.get("latency", None)
    if type(seed) is not int or not (latency is None or isinstance(latency, str | int | float)):
        raise ApiError(400, "'seed' must be an integer and 'latency' a text such as 200ms.", code="invalid_type")
    if "" in poison:
        raise ApiError(400, "A poison word is empty; every request would be refused.", code="invalid_value")
    try:
        pauses = parse_latency(latency) if "latency" in value else sandbox.latency
        sandbox.change(parse_faults(faults), pauses, poison, seed)
    except InputError as error:
        raise ApiError(400, str(error), code="invalid_value") from None


def _texts(value: dict[str, Any], name: str, default: list[str]) -> list[str]:
    texts = value.get(name, default)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ApiError(400, f"'{name}' must be a list of texts.", param=name, code="invalid_type")
    return texts
