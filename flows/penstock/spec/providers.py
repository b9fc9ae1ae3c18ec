"""Reading `provider:` and `providers:`, and finding each step's own among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.outputs import Output
from penstock.spec.columns import PlacedStep
from penstock.spec.mistakes import validated
from penstock.spec.positions import Document
from penstock.spec.positions import Mapping as MappingNode
from penstock.spec.positions import Path as Place
from penstock.spec.provider import PROVIDERS, ProviderSettings, with_defaults
from penstock.spec.references import did_you_mean
from penstock.steps import ApiStep


def read_provider(document: Document, environ: Mapping[str, str], data: Any, path: Place) -> ProviderSettings | None:
    """The provider that stands at `path`, or None with its mistakes added."""
    if isinstance(data, str):
        data = {"uses": data}
    if not isinstance(data, dict):
        node = document.find(path)[1]
        document.add(node.span, f"`{path[-1]}` must be sandbox, openai or a mapping")
        return None
    uses = data.get("uses", "openai")
    model = PROVIDERS.get(uses) if isinstance(uses, str) else None
    if model is None:
        place = document.find((*path, "uses"))[1]
        hint = did_you_mean(str(uses), list(PROVIDERS)) or "another server: {base_url: …, api_key: ${NAME}}"
        document.add(place.span, f"there is no provider `{uses}`: sandbox or openai", hint)
        return None
    found: ProviderSettings | None = validated(model, with_defaults(data, environ), document, path)
    return found


def key_paths(root: MappingNode) -> Iterator[Place]:
    """Where keys of providers may stand: they are never resolved, and never shown unless they are names."""
    yield ("provider", "api_key")
    named = root.values.get("providers")
    if isinstance(named, MappingNode):
        yield from (("providers", name, "api_key") for name in named.values)


def check_used_providers(
    document: Document,
    steps: Sequence[PlacedStep],
    outputs: Sequence[tuple[Place, Output]],
    values: Mapping[str, Any],
    broken: set[str],
) -> None:
    """Add a mistake for a step or output that names a provider which is none, and for the first that has none."""
    names = list(values.get("providers", {}))
    has_own = "provider" in values or "provider" in broken
    asking = [
        (placed.path, placed.data.get("provider"), "this step asks a model")
        for placed in steps
        if placed.kind is not None and issubclass(placed.kind, ApiStep) and isinstance(placed.data, dict)
    ]
    asking += [
        (path, output.provider_name, "this output is to be uploaded") for path, output in outputs if output.delivers
    ]
    for path, chosen, what in asking:
        if chosen is None and not has_own:
            node = document.find((*path, "uses"))[1]
            several = f"name one of its `providers` here: provider: {names[0]}" if names else ""
            hint = several or "write `provider: sandbox` to rehearse, or `provider: openai`"
            document.add(node.span, f"{what}, and the pipeline has no `provider`", hint)
            return
        if chosen is not None and chosen not in names and "providers" not in broken:
            node = document.find((*path, "provider"))[1]
            message = f"`providers` has no `{chosen}`" + (f"; it has: {', '.join(names)}" if names else "")
            hint = did_you_mean(str(chosen), names) or "name it there, with its address: providers: {local: {…}}"
            document.add(node.span, message, hint)
