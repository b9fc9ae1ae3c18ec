"""Reading `params:`: what is declared, and each parameter's value for this run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from penstock.secrets import holds_key
from penstock.spec.mistakes import validated
from penstock.spec.params import Param, convert, type_of
from penstock.spec.positions import Document, Span
from penstock.spec.positions import Path as Place
from penstock.spec.references import Resolver, did_you_mean

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class ParamReading:
    """Reads the parameters of one document; `declared` and `values` hold what was found."""

    def __init__(self, document: Document, environ: Mapping[str, str], overrides: Mapping[str, str]) -> None:
        self.declared: dict[str, Param] = {}
        self.values: dict[str, Any] = {}
        self._document = document
        self._environ = environ
        self._overrides = overrides

    def read(self) -> None:
        """Fill `declared` and `values`; a broken parameter has a stand-in value, so that its uses are no mistakes."""
        key, node = self._document.find(("params",))
        if key is not None:
            data = Resolver(self._document, self._environ, None).data(node, ("params",))
            if isinstance(data, dict):
                for name, value in data.items():
                    self._declare(name, value)
            else:
                self._document.add(node.span, "`params` must be a mapping", "for example params: {since: 2026-01-01}")
        for name in self._overrides:
            if name not in self.values:
                hint = did_you_mean(name, self.declared) or f"declared here: {', '.join(self.declared) or 'none'}"
                span = key.span if key is not None else Span(0, 0)
                self._document.add(span, f"there is no parameter `{name}` (-p {name}=…)", hint)

    def _declare(self, name: str, value: Any) -> None:
        path: Place = ("params", name)
        key, node = self._document.find(path)
        span = key.span if key is not None else node.span
        self.values[name] = self._overrides.get(name, "")
        if not _NAME.fullmatch(name):
            self._document.add(span, f"`{name}` is no name for a parameter: letters, digits and _ only")
            return
        short = not isinstance(value, dict)
        written = {"default": value} if short else dict(value)
        written.setdefault("type", type_of(written.get("default")))
        param = validated(Param, written, self._document, path)
        if param is None:
            return
        self.declared[name] = param
        self._default(name, param, path if short else (*path, "default"))
        if name in self._overrides:
            self._override(name, param, span)
        elif param.required:
            hint = f"give one: -p {name}=…"
            self._document.add(span, f"the parameter `{name}` has no default, so it needs a value", hint)

    def _default(self, name: str, param: Param, path: Place) -> None:
        if param.required:
            return
        try:
            self.values[name] = convert(param.default, param.type)
        except ValueError as error:
            self._document.add(self._document.find(path)[1].span, f"the default of `{name}`: {error}")

    def _override(self, name: str, param: Param, span: Span) -> None:
        if holds_key(self._overrides[name]):
            # Prefect stores the values of parameters, and shows them.
            self._document.add(span, f"-p {name}=… looks like an API key, and keys live in the environment only")
            return
        try:
            self.values[name] = convert(self._overrides[name], param.type)
        except ValueError as error:
            self._document.add(span, f"-p {name}=…: {error}")
