"""`${NAME}`, `${NAME:-default}` and `${params.x}` inside values, and what they stand for.

``$$`` is a dollar sign. A dollar sign before anything else, also before a template's ``{{``, is itself.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping as MappingOf
from typing import Any

from penstock.secrets import holds_key
from penstock.spec.positions import MOST_NODES, Document, Mapping, Node, Path, Scalar, Sequence, Span

_REFERENCE = re.compile(r"\$\$|\$\{(?!\{)([^{}]*)(\}?)")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:-(.*))?", re.DOTALL)
_PARAMETER = re.compile(r"params\.(\w[\w-]*)")
_SECRET_WORDS = {"KEY", "APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "CREDENTIALS"}
_FORMS = "write ${NAME}, ${NAME:-default} or ${params.x}; a plain dollar sign before a brace is $$"
_LONGEST_VALUE = 1_000_000


def looks_secret(name: str) -> bool:
    """Whether an environment variable's name says that it holds a key: ``OPENAI_API_KEY``, not ``MAX_TOKENS``."""
    return any(part in _SECRET_WORDS for part in name.upper().split("_"))


class Resolver:
    """Nodes to plain data with all references replaced; mistakes go to the document.

    Args:
        document: where the nodes come from.
        environ: the environment.
        params: the parameters' values; None while the parameters themselves are read.
        verbatim: the paths whose text is kept as it is: those of API keys.
    """

    def __init__(
        self,
        document: Document,
        environ: MappingOf[str, str],
        params: MappingOf[str, Any] | None,
        verbatim: frozenset[Path] = frozenset(),
    ) -> None:
        self._document = document
        self._environ = environ
        self._params = params
        self._verbatim = verbatim
        self._count = 0
        self._shifts: dict[int, list[tuple[int, int, re.Match[str]]]] = {}

    def data(self, node: Node, path: Path = ()) -> Any:
        """What the node says, as dict, list, text, number, boolean or None.

        Raises:
            SpecError: the aliases of the file expand to too many values.
        """
        self._count += 1
        if self._count > MOST_NODES:
            raise self._document.stop(node.span, f"the aliases of this file expand to more than {MOST_NODES:,} values")
        if isinstance(node, Mapping):
            return {name: self.data(value, (*path, name)) for name, value in node.values.items()}
        if isinstance(node, Sequence):
            return [self.data(item, (*path, place)) for place, item in enumerate(node.items)]
        if not isinstance(node.value, str) or path in self._verbatim:
            return node.value
        if holds_key(node.value):
            self._document.add(
                node.span,
                "this looks like an API key, and a pipeline file is no place for one: "
                "keys live in the environment, and only `api_key` names the variable",
            )
        if "$" not in node.value:
            return node.value
        return self._resolved(node)

    def span(self, node: Node, offset: int, width: int) -> Span:
        """Where in the file the characters of a resolved text stand; a whole reference for what it brought in."""
        for start, end, match in reversed(self._shifts.get(id(node), [])):
            if offset >= end:
                return self._document.inside(node, match.end() + offset - end, width)
            if offset >= start:
                return self._document.inside(node, match.start(), len(match[0]))
        return self._document.inside(node, offset, width)

    def _resolved(self, node: Scalar) -> Any:
        text = node.text
        pieces: list[str] = []
        shifts: list[tuple[int, int, re.Match[str]]] = []
        done = length = 0
        for match in _REFERENCE.finditer(text):
            pieces.append(text[done : match.start()])
            length += match.start() - done
            value = "$" if match[0] == "$$" else self._value(node, match)
            if match.span() == (0, len(text)):
                return value
            piece = _as_text(value)
            shifts.append((length, length + len(piece), match))
            pieces.append(piece)
            length += len(piece)
            done = match.end()
            if length > _LONGEST_VALUE:
                raise self._document.stop(node.span, f"this value grows over {_LONGEST_VALUE:,} characters")
        self._shifts[id(node)] = shifts
        return "".join([*pieces, text[done:]])

    def _value(self, node: Scalar, match: re.Match[str]) -> Any:
        span = self._document.inside(node, match.start(), match.end() - match.start())
        inner = match[1]
        if not match[2]:
            self._document.add(span, "this reference has no closing brace", _FORMS)
            return ""
        if inner.startswith("params."):
            return self._parameter(span, inner)
        if inner.startswith("prefect-secret:"):
            self._document.add(
                span,
                "only `api_key` may name a Secret block of Prefect, and a source's whole `uri` or `password`: "
                "any other value would be written into plans, reports and Prefect",
            )
            return ""
        variable = _VARIABLE.fullmatch(inner)
        if variable is None:
            self._document.add(span, f"${{{inner}}} is not a reference", _FORMS)
            return ""
        return self._environment(span, variable[1], variable[3])

    def _parameter(self, span: Span, inner: str) -> Any:
        match = _PARAMETER.fullmatch(inner)
        if self._params is None:
            self._document.add(span, "a parameter cannot refer to another one")
        elif match is None or match[1] not in self._params:
            name = inner.removeprefix("params.")
            self._document.add(
                span,
                f"there is no parameter `{name}`",
                did_you_mean(name, self._params) or f"declare it: `params: {{{name or 'x'}: …}}`",
            )
        else:
            return self._params[match[1]]
        return ""

    def _environment(self, span: Span, name: str, default: str | None) -> str:
        if looks_secret(name):
            self._document.add(
                span,
                f"{name} looks like a secret, and only `api_key` may name one: "
                "any other value would be written into plans, reports and Prefect",
            )
            return ""
        value = self._environ.get(name)
        if value:
            return value
        if default is not None:
            return default
        state = "not set" if value is None else "empty"
        self._document.add(
            span,
            f"the environment variable {name} is {state}",
            did_you_mean(name, [known for known in self._environ if not looks_secret(known)])
            or f"export {name}=…, or give a default: ${{{name}:-…}}",
        )
        return ""


def did_you_mean(word: str, allowed: MappingOf[str, Any] | list[str] | tuple[str, ...]) -> str:
    """``did you mean `x`?`` for the nearest of the allowed words, or nothing."""
    near = nearest(word, allowed)
    return f"did you mean `{near}`?" if near is not None else ""


def nearest(word: str, allowed: MappingOf[str, Any] | list[str] | tuple[str, ...]) -> str | None:
    """The allowed word that `word` is most likely a misspelling of."""
    if len(word) > 100:
        return None
    names = {name.lower(): name for name in allowed}
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return names[near[0]] if near else None


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
