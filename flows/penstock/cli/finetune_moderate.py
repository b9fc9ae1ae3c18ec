"""``penstock finetune check --moderate``: what the moderations endpoint says of the texts of training files.

The requests are those of the step `moderate`, sent by the engine: packed, limited, tried again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.cli.connection import confirm
from penstock.cli.console import warn

if TYPE_CHECKING:
    from penstock.api.provider import Provider
    from penstock.items import Delivered, Failed, Item
    from penstock.steps.moderate import Moderate

_PIECE = 20_000
"""Characters of a text in one item: what is longer is judged in pieces, for the service reads no further than 32,768
tokens."""
_TOLD_EVERY = 10.0


@dataclass(slots=True)
class Verdicts:
    """What was flagged, by file and line; and of how many texts there is no verdict.

    Attributes:
        failure: what became of the first text without a verdict, for people.
    """

    flagged: dict[Path, dict[int, list[str]]]
    failed: int = 0
    failure: str = ""


def moderate_files(files: Sequence[Path], provider: Provider, *, yes: bool) -> Verdicts:
    """Ask for a verdict on every example of the files; what is sent and its price are told first.

    Args:
        yes: do not ask first where it costs something, or where the price is not known.

    Raises:
        InputError: a file cannot be read, or there is no key.
        Interrupted: the answer is no.
        RunStopped: the server refuses everything.
    """
    from penstock.engine import Job, RunControl, engine
    from penstock.steps.moderate import Moderate

    step = Moderate.model_validate({"uses": "moderate", "input": "{{ text }}"})
    texts = _Texts(files, step)
    _announce(texts, step, provider, yes)
    sink = _Sink(texts)
    engine().run(Job(step, texts.items(), sink, provider, RunControl(stop_above=1.0, resumable=False)))
    return sink.verdicts


def _announce(texts: _Texts, step: Moderate, provider: Provider, yes: bool) -> None:
    from penstock.engine.packing import packs
    from penstock.engine.prices import price, table_version
    from penstock.items import Usage

    number = tokens = requests = 0
    for pack in packs(texts.items(), step.packing):
        requests += 1
        number += len(pack)
        tokens += sum(item.tokens for item in pack)
    usd = price(step.model, Usage(step.model, tokens))
    cost = "at an unknown price" if usd is None else f"for ${usd:,.2f} by {table_version()}"
    warn(
        f"moderation: {number:,} texts, about {tokens:,} tokens, go to {provider.base_url} in {requests:,} requests "
        f"({step.model}) {cost}; images are not looked at"
    )
    if usd != 0:
        confirm("Send them?", yes)


class _Texts:
    """The texts of all examples as items, read anew each time; which line each is of."""

    def __init__(self, files: Sequence[Path], step: Moderate) -> None:
        self.files = files
        self._step = step
        self.lines: list[tuple[Path, int]] = []

    def items(self) -> Iterator[Item]:
        """One for each text, by its number."""
        from penstock.items import Item
        from penstock.tokens import counter

        count = counter(self._step.model).count_many
        self.lines.clear()
        for path in self.files:
            for line, text in _examples(path):
                for begin in range(0, len(text), _PIECE):
                    piece = text[begin : begin + _PIECE]
                    self.lines.append((path, line))
                    yield Item(len(self.lines) - 1, piece, self._step.tokens([piece], count)[0])


def _examples(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each example that can be read and says something."""
    from penstock.outputs.finetune.example import example_of
    from penstock.outputs.finetune.lines import open_file, read_lines
    from penstock.outputs.finetune.shapes import read_object

    with open_file(path) as file:
        for number, line in read_lines(file):
            if line is None:
                continue
            value, _ = read_object(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, number)
            example = example_of(value) if isinstance(value, dict) else None
            text = "\n".join([*example.texts, example.other_output]).strip() if example else ""
            if text:
                yield number, text.encode("utf-8", "replace").decode()


@dataclass(slots=True)
class _Sink:
    texts: _Texts
    verdicts: Verdicts = field(init=False)
    done: int = 0
    told: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.verdicts = Verdicts({path: {} for path in self.texts.files})

    def delivered(self, outcome: Delivered) -> None:
        """Keep what was flagged."""
        from penstock.items import AnswerRows

        answered = outcome.answer.columns
        table = answered.batch() if isinstance(answered, AnswerRows) else answered
        flagged, named = table.column("flagged").to_pylist(), table.column("flagged_categories").to_pylist()
        for item, is_flagged, categories in zip(outcome.items, flagged, named, strict=True):
            if is_flagged:
                path, line = self.texts.lines[item.number]
                known = self.verdicts.flagged[path].setdefault(line, [])
                known += [one for one in categories or ["no category named"] if one not in known]
        self._count(len(outcome.items))

    def flush(self) -> None:
        """Nothing is kept beyond this process: a verdict costs nothing, and is asked for again."""

    def failed(self, outcome: Failed) -> None:
        """Keep how many, and why the first."""
        path, line = self.texts.lines[outcome.item.number]
        self.verdicts.failed += 1
        self.verdicts.failure = self.verdicts.failure or f"{path}:{line}: {outcome.message}"
        self._count(1)

    def _count(self, number: int) -> None:
        self.done += number
        if time.monotonic() - self.told > _TOLD_EVERY:
            self.told = time.monotonic()
            warn(f"moderation: {self.done:,} texts have their verdict")
