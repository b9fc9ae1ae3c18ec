"""The OpenAI API over HTTP: `Api`, the client of every resource; and the wire and the errors below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.api.service import Api

__all__ = ["Api"]


def __getattr__(name: str) -> object:
    # Late, so that what only wants the errors or the wire does not load every resource.
    if name == "Api":
        from penstock.api.service import Api

        return Api
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
