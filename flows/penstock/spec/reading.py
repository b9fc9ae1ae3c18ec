"""One pipeline's way from nodes to a `Spec`: each key by its own declaration, mistakes collected over all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from penstock.errors import InputError, UsageError
from penstock.outputs import KINDS as OUTPUTS
from penstock.secrets import PREFECT_SECRET, is_offered
from penstock.sources import ROW_KEY, SourceSettings
from penstock.spec.branches import check_branches, columns_at
from penstock.spec.budget import Budget
from penstock.spec.columns import ColumnCheck, PlacedStep
from penstock.spec.entries import absolute, read_outputs, read_steps
from penstock.spec.errors_key import ErrorSettings
from penstock.spec.incremental_key import Incremental, check_incremental
from penstock.spec.mistakes import missing_keys_hint, report, validated
from penstock.spec.model import Spec
from penstock.spec.param_values import ParamReading
from penstock.spec.positions import Document, Scalar, Span
from penstock.spec.positions import Mapping as MappingNode
from penstock.spec.positions import Path as Place
from penstock.spec.provider import PROVIDERS, ProviderSettings, SandboxSettings, is_key_reference
from penstock.spec.providers import check_used_providers, key_paths, read_provider
from penstock.spec.references import Resolver, did_you_mean, nearest
from penstock.spec.runner_key import RunnerSettings, check_runner, check_runner_word
from penstock.spec.schedule import ScheduleSettings
from penstock.spec.targets import check_targets
from penstock.steps import KINDS as STEPS
from penstock.steps import Columns
from penstock.steps.returned import TYPE_NAMES

_SOURCE_KEY = re.compile(r"source\.(\w+): ")
_HEAD = ("name", "description", "tags")


class Reading:
    """Reads one document. `param_values` and `notes` are filled by `spec`."""

    def __init__(
        self,
        document: Document,
        folder: Path,
        environ: Mapping[str, str],
        overrides: Mapping[str, str],
        provider: str | None,
    ) -> None:
        self.param_values: dict[str, Any] = {}
        self.notes: list[str] = []
        self._document = document
        self._folder = folder
        self._environ = environ
        self._overrides = overrides
        self._provider = provider
        self._values: dict[str, Any] = {}
        self._broken: set[str] = set()
        self._steps: list[PlacedStep] = []
        self._outputs: list[tuple[Place, Any]] = []
        self._resolver = Resolver(document, environ, None)

    def spec(self, *, source_may_miss: bool = False) -> tuple[Spec | None, tuple[Columns, ...]]:
        """The pipeline and its columns; None when the document has mistakes, which it then holds.

        Raises:
            SpecError: the document is no mapping, or its aliases expand without bound.
            UsageError: the provider asked for is none.
        """
        root = self._root()
        keys = frozenset(key_paths(root))
        self._mask_keys({*keys, ("source", "password")})
        params = ParamReading(self._document, self._environ, self._overrides)
        params.read()
        self.param_values = params.values
        verbatim = keys | self._names_of_secrets()
        self._resolver = Resolver(self._document, self._environ, params.values, verbatim)
        given = {name: self._resolver.data(root.values[name], (name,)) for name in self._wanted(root)}
        self._values |= {name: given[name] for name in _HEAD if name in given}
        self._values["params"] = params.declared
        self._read_providers(root, given)
        self._section("source", SourceSettings, given)
        self._section("errors", ErrorSettings, given)
        self._section("budget", Budget, given)
        self._section("schedule", ScheduleSettings, given)
        self._read_runner(given, may_miss=source_may_miss)
        self._read_incremental(given)
        self._steps = read_steps(self._document, STEPS, given.get("steps"), self._folder)
        self._outputs = read_outputs(self._document, OUTPUTS, given.get("outputs"), self._folder)
        check_used_providers(self._document, self._steps, self._outputs, self._values, self._broken)
        whole = check_branches(self._document, self._steps, self._outputs)
        columns = self._follow(source_may_miss=source_may_miss, whole=whole)
        source = self._values.get("source")
        check_targets(self._document, source, self._outputs, self._values.get("errors"))
        self.notes += check_incremental(
            self._document,
            self._values.get("incremental"),
            source,
            self._steps,
            self._outputs,
            columns if whole else None,
        )
        return self._assembled(root), columns

    def _root(self) -> MappingNode:
        root = self._document.root
        if not isinstance(root, MappingNode):
            empty = isinstance(root, Scalar) and root.value is None
            what = "the file is empty" if empty else "a pipeline is a mapping of keys to values"
            raise self._document.stop(Span(0, 1), what, "begin with `name: my-pipeline`")
        for name, key in root.keys.items():
            if name not in Spec.model_fields:
                meant = nearest(name, list(Spec.model_fields))
                # That the key which was meant is missing would be the same mistake twice.
                self._broken |= {meant} if meant is not None and meant not in root.keys else set()
                hint = did_you_mean(name, list(Spec.model_fields)) or missing_keys_hint(Spec.model_fields)
                self._document.add(key.span, f"unknown key `{name}`", hint)
        return root

    def _mask_keys(self, paths: Iterable[Place]) -> None:
        for path in paths:
            key, node = self._document.find(path)
            is_there = key is not None and key.text == path[-1]
            if is_there and isinstance(node, Scalar) and not is_key_reference(node.text):
                self._document.masked.append(node.span)

    def _names_of_secrets(self) -> frozenset[Place]:
        """Where a reference stays a name besides API keys: at a database's password, and as its whole address."""
        named: set[Place] = set()
        for place in (("source", "uri"), ("source", "password")):
            key, node = self._document.find(place)
            if key is not None and key.text == place[-1] and isinstance(node, Scalar) and is_key_reference(node.text):
                named.add(place)
        return frozenset(named)

    def _wanted(self, root: MappingNode) -> list[str]:
        known = [name for name in root.keys if name in Spec.model_fields and name not in {"params", "providers"}]
        # A rehearsal must not ask for the variables of the provider that it leaves out.
        return [name for name in known if name != "provider" or not self._replaces_provider(root)]

    def _replaces_provider(self, root: MappingNode, path: Place = ("provider",)) -> bool:
        if self._provider is None:
            return False
        if self._provider not in PROVIDERS:
            hint = did_you_mean(self._provider, list(PROVIDERS))
            raise UsageError(f"there is no provider {self._provider!r}: sandbox or openai{'; ' if hint else ''}{hint}")
        if path[0] not in root.keys:
            return False
        node = self._document.find(path)[1]
        uses = node.values.get("uses") if isinstance(node, MappingNode) else node
        return getattr(uses, "text", None) != self._provider

    def _read_providers(self, root: MappingNode, given: Mapping[str, Any]) -> None:
        if "provider" in given or self._provider is not None:
            data = given.get("provider", self._provider)
            self._keep("provider", self._provider_at(data, ("provider",)))
        if "providers" not in root.keys:
            return
        node = root.values["providers"]
        if not isinstance(node, MappingNode):
            self._document.add(node.span, "`providers` must be a mapping of names", "for example providers: {local: …}")
            self._broken.add("providers")
            return
        for name in PROVIDERS:
            if name in node.values:
                key = self._document.find(("providers", name))[0]
                span = key.span if key is not None else node.span
                self._document.add(
                    span, f"`{name}` is what the pipeline's own provider is called", "give it another name"
                )
                self._broken.add("providers")
        found = {name: self._named_provider(root, name) for name in node.values}
        if None in found.values():
            self._broken.add("providers")
        self._values["providers"] = {name: one for name, one in found.items() if one is not None}

    def _named_provider(self, root: MappingNode, name: str) -> ProviderSettings | None:
        path: Place = ("providers", name)
        if self._replaces_provider(root, path):
            return self._provider_at(self._provider, path)
        return self._provider_at(self._resolver.data(self._document.find(path)[1], path), path)

    def _provider_at(self, data: Any, path: Place) -> ProviderSettings | None:
        return read_provider(self._document, self._environ, absolute(SandboxSettings, data, self._folder), path)

    def _section(self, name: str, model: type[BaseModel], given: Mapping[str, Any]) -> None:
        if name in given:
            data = absolute(model, given[name], self._folder)
            self._keep(name, validated(model, data, self._document, (name,)))

    def _read_runner(self, given: Mapping[str, Any], *, may_miss: bool) -> None:
        data = given.get("runner", {})
        if not isinstance(data, dict):
            if not check_runner_word(self._document, data):
                self._broken.add("runner")
                return
            given = {"runner": {"kind": data}}
        self._section("runner", RunnerSettings, given)
        runner = self._values.get("runner")
        # What is documented or deployed here may run elsewhere.
        if isinstance(runner, RunnerSettings) and not may_miss:
            check_runner(self._document, runner)

    def _read_incremental(self, given: Mapping[str, Any]) -> None:
        data = given.get("incremental", False)
        if isinstance(data, bool):
            self._values["incremental"] = data
        elif isinstance(data, dict):
            self._section("incremental", Incremental, given)
        else:
            span = self._document.find(("incremental",))[1].span
            self._document.add(span, "`incremental` is true, false or a mapping", "write `incremental: true`")
            self._broken.add("incremental")

    def _keep(self, name: str, value: BaseModel | None) -> None:
        if value is None:
            self._broken.add(name)
        else:
            self._values[name] = value

    def _follow(self, *, source_may_miss: bool, whole: bool) -> tuple[Columns, ...]:
        check = ColumnCheck(self._document, self._resolver)
        source: SourceSettings | None = self._values.get("source")
        given = self._source_columns(source, may_miss=source_may_miss) if source is not None else None
        if source is not None and not source.keys and not self._values.get("incremental"):
            self.notes.append(
                "the source has no `key`: rows are named by place and content, so a moved row is a new one"
            )
        if source is not None and given is not None:
            key = [(("key",) if isinstance(source.key, str) else ("key", place), name)
                   for place, name in enumerate(source.keys)]  # fmt: skip
            check.names(("source",), [*key, *((("types", name), name) for name in source.types)], given)
            given |= {name: TYPE_NAMES[word] for name, word in source.types.items() if name in given}
        columns = check.follow(given, self._steps, source.keys or [ROW_KEY] if source is not None else [])
        if given is not None and whole:
            for path, output in self._outputs:
                rows = columns_at(columns, self._steps, output.reads)
                check.names(path, list(output.named_columns), rows)
                check.settings(path, type(output), output.model_dump(mode="json"), rows)
        return columns

    def _source_columns(self, source: SourceSettings, *, may_miss: bool) -> Columns | None:
        from penstock.sources import open_source

        if source.blocks and not is_offered(PREFECT_SECRET):
            self.notes.append(
                f"the Secret block {source.blocks[0]!r} is read by runs only, so columns were not checked; a run "
                "checks them before it sends anything"
            )
            return None
        if may_miss and source.is_elsewhere:
            self.notes.append("the source is not on this machine, so columns were not checked")
            return None
        try:
            return open_source(source).column_names()
        except InputError as error:
            if may_miss:
                where = source.path or source.uri
                self.notes.append(f"the source is not there, so columns were not checked: {where}")
                return None
            told = _SOURCE_KEY.match(str(error))
            node = self._document.find(("source", told[1] if told else "path"))[1]
            self._document.add(node.span, str(error)[told.end() if told else 0 :])
            return None

    def _assembled(self, root: MappingNode) -> Spec | None:
        steps = [placed.step for placed in self._steps if placed.step is not None]
        outputs = [output for _, output in self._outputs]
        if outputs or "outputs" not in root.keys:
            self._values |= {"outputs": outputs} if outputs else {}
        elif not self._document.problems:
            self._document.add(root.keys["outputs"].span, "`outputs` must not be empty: nothing would be written")
        data = {**self._values, "steps": steps}
        try:
            return Spec.model_validate(data)
        except ValidationError as error:
            done = self._broken | {"outputs" if "outputs" in root.keys else "", "provider", "providers"}
            details = [detail for detail in error.errors() if detail["loc"][0] not in done]
            report(details, Spec, data, self._document, ())
            return None
