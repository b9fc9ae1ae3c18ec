"""What the administrative commands share: which server they talk to, and how failures and waits are told."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import typer

from penstock.cli.console import warn
from penstock.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from penstock.api import Api
    from penstock.api.errors import ApiError
    from penstock.api.provider import Provider
    from penstock.api.retrying import Retry

MOST = typer.Option(100, "--most", min=1, help="How many at the most.")
YES = typer.Option(False, "--yes", "-y", help="Do not ask first.")
_SANDBOX = "http://127.0.0.1:8080/v1"
# Somebody is waiting at the terminal: a few seconds in all, unless the server itself asks for more.
_ATTEMPTS = 4
_LONGEST_WAIT = 20.0

T = TypeVar("T")


def chosen_provider(provider: str, base_url: str | None, key_variable: str | None) -> Provider:
    """The server that the options mean.

    Raises:
        UsageError: there is no such provider, or an option is wrong.
    """
    from pydantic import ValidationError

    from penstock.api.provider import RetryPolicy
    from penstock.sandbox.settings import DEFAULT_KEY
    from penstock.spec.provider import SANDBOX_KEY, OpenAISettings, with_defaults

    if provider not in {"openai", "sandbox"}:
        raise UsageError(f"--provider is openai or sandbox, and got {provider!r}")
    data = {"uses": "openai"}
    if base_url:
        data["base_url"] = base_url
    if key_variable:
        data["api_key"] = f"${{{key_variable}}}"
    if provider == "sandbox":
        data = {"base_url": _SANDBOX, "api_key": f"${{{SANDBOX_KEY}}}", **data}
        # The sandbox's own key is no secret; a key of the user's own stands in the variable.
        os.environ.setdefault(SANDBOX_KEY, DEFAULT_KEY)
    try:
        settings = OpenAISettings.model_validate(with_defaults(data, os.environ))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = {"base_url": "--base-url", "api_key": "--key-variable"}.get(str(first["loc"][0]), str(first["loc"][0]))
        raise UsageError(f"{option}: {first['msg'].removeprefix('Value error, ')}") from None
    return replace(settings.to_provider(provider), retry=RetryPolicy(_ATTEMPTS, _LONGEST_WAIT))


def carry_out(provider: Provider, use: Callable[[Api], Awaitable[T]], *, creates: str = "") -> T:
    """What `use` returns, with waits told on standard error.

    Args:
        creates: the command that shows whether something was created, for calls that create.

    Raises:
        ApiError: the server refuses or fails.
        Interrupted: Ctrl-C.
    """
    import asyncio

    from penstock.api import Api
    from penstock.api.errors import ApiError

    async def main() -> T:
        async with Api(provider, on_retry=_tell) as api:
            return await use(api)

    try:
        return asyncio.run(main())
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what the server has begun goes on there") from None
    except ApiError as error:
        _hint(error, provider, creates)
        raise


async def first(found: AsyncIterator[T], most: int) -> tuple[list[T], bool]:
    """The first `most` objects of a list, and whether there are more."""
    objects: list[T] = []
    async for one in found:
        if len(objects) == most:
            return objects, True
        objects.append(one)
    return objects, False


def confirm(question: str, yes: bool) -> None:
    """Go on only when the person says so, or `yes` was given.

    Raises:
        Interrupted: the answer is no.
        UsageError: nobody can answer.
    """
    if yes:
        return
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        raise UsageError("nobody answered; --yes goes on without asking") from None
    if not agreed:
        raise Interrupted("nothing was changed")


def _tell(retry: Retry) -> None:
    from penstock.values import format_duration

    warn(f"{retry.error}; trying again in {format_duration(retry.wait)}")


def _hint(error: ApiError, provider: Provider, creates: str) -> None:
    from penstock.api.errors import ConnectionFailed, RateLimited, Unauthorized

    never_sent = isinstance(error, ConnectionFailed) and error.never_sent
    if isinstance(error, Unauthorized) and provider.api_key is None:
        warn("no key was sent: name the environment variable that holds it with --key-variable")
    elif never_sent and provider.name == "sandbox":
        warn("start the sandbox in another terminal with `penstock sandbox`, or say where it is with --base-url")
    elif creates and error.retryable and not never_sent and not isinstance(error, RateLimited):
        warn(f"it may have been created all the same, so it was not sent twice; look with `{creates}`")
