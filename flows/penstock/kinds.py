"""Kinds of steps and outputs by name, each imported when it is asked for: a command pays for the kinds it meets."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Kinds(Mapping[str, type[T]], Generic[T]):
    """Names of kinds, in order, and their classes.

    Args:
        package: where their modules are.
        places: by kind, its module and class as ``module:Class``.
    """

    def __init__(self, package: str, places: Mapping[str, str]) -> None:
        self._package = package
        self._places = dict(places)

    def __getitem__(self, name: str) -> type[T]:
        module, _, word = self._places[name].partition(":")
        found: type[T] = getattr(importlib.import_module(f"{self._package}.{module}"), word)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
