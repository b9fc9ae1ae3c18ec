"""The sandbox as an ASGI application: counting → host check → key check → limits → faults → the resource."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.sandbox import errors
from penstock.sandbox.contract import Operation, Resource
from penstock.sandbox.control import routes
from penstock.sandbox.errors import ApiError
from penstock.sandbox.exchange import Endpoint
from penstock.sandbox.gates import Bookkeeping, HostCheck, KeyCheck
from penstock.sandbox.resources import RESOURCES
from penstock.sandbox.settings import Settings
from penstock.sandbox.state import Sandbox


def make_app(
    settings: Settings,
    *,
    resources: Sequence[Resource] = RESOURCES,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> Starlette:
    """The application of one server; its `Sandbox` is ``app.state.sandbox``.

    `clock` is for the limits; `wall`, seconds since 1970, for the lives of files, jobs and batches.

    Faults of the connection need the server of `penstock.sandbox.server` around it.
    """
    sandbox = Sandbox(settings, resources, clock, wall)
    by_path: defaultdict[str, dict[str, Operation]] = defaultdict(dict)
    for resource in resources:
        for operation in resource.operations:
            by_path[operation.path][operation.method] = operation
    endpoints = [Route(path, Endpoint(sandbox, operations)) for path, operations in by_path.items()]
    app = Starlette(
        routes=[*endpoints, *routes(sandbox)],
        middleware=[Middleware(layer, sandbox) for layer in (Bookkeeping, HostCheck, KeyCheck)],
        exception_handlers={HTTPException: _http_error, ApiError: _api_error, Exception: _defect},
    )
    app.router.redirect_slashes = False
    app.state.sandbox = sandbox
    return app


async def _http_error(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        return _response(errors.wrong_method(request.method, request.url.path))
    return _response(errors.unknown_url(request.method, request.url.path))


async def _api_error(request: Request, error: Exception) -> Response:
    return _response(error) if isinstance(error, ApiError) else await _defect(request, error)


async def _defect(request: Request, error: Exception) -> Response:  # noqa: ARG001  # starlette's signature
    """A bug of the sandbox: the service's words to the client, the traceback to standard error (by starlette)."""
    return _response(errors.server_error())


def _response(error: ApiError) -> Response:
    return Response(error.body(), error.status, headers=error.headers, media_type="application/json")
