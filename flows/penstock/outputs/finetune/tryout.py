"""What a new model answers to prompts of the data, beside the answers that were expected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.engine.budget import NOTHING, Reservation
from penstock.errors import InputError
from penstock.items import Usage
from penstock.outputs.base import Desk
from penstock.outputs.finetune.sets import SetRows
from penstock.tokens import counter

if TYPE_CHECKING:
    from penstock.api import Api
    from penstock.api.chat_objects import ChatCompletion
    from penstock.api.errors import ApiError
    from penstock.api.fine_tuning import FineTuningJob
    from penstock.api.retrying import Retry

_PATIENCE = 30
_SHOWN = 120


class TryOut:
    """Asks the new model of a job; each answer is kept as it comes, so that none is paid for twice.

    Args:
        folder: of the output; ``answers-JOB.jsonl`` is written there.
        desk: what is asked counts in its run's usage and budget, where there is a run.
    """

    def __init__(self, job: FineTuningJob, folder: Path, manifest: Mapping[str, Any], desk: Desk) -> None:
        self._model = job.fine_tuned_model or ""
        self._folder = folder
        self._manifest = manifest
        self._desk = desk
        self._books = _Books(desk, self._model)
        self.file = folder / f"answers-{job.id}.jsonl"

    async def ask(self) -> tuple[str, bool] | None:
        """Ask the prompts of the first examples that were not asked yet.

        Returns:
            The first answer shortened, and whether anything was asked; None where that is not to be afforded, which is
            noted.

        Raises:
            ApiError: the model does not answer.
            BudgetSpent: what the budget leaves is too little; the answers until then are kept.
        """
        from penstock.api import Api

        entry = self._manifest["sets"].get("validation") or self._manifest["sets"]["train"]
        with (self._folder / entry["file"]).open(encoding="utf-8") as file:
            examples = [json.loads(line) for line in islice(file, self._manifest["job"]["try_out"])]
        found = _kept(self.file)
        wanted = examples[len(found) :]
        if wanted and not self._books.is_priced():
            return None
        if wanted:
            rows = SetRows(self._folder / entry["rows_file"])
            async with Api(self._desk.provider, on_retry=self._books.again) as api:
                for number, example in enumerate(wanted, len(found) + 1):
                    self._desk.check()
                    self._desk.tell(f"asking {self._model}: {number} of {len(examples)}")
                    given, expected = _parted(example)
                    answer = await self._answer(api, given, expected)
                    about = {"model": self._model, "set": entry["set"], "line": number, "rows": rows.row(number)}
                    found.append({**about, "prompt": given["messages"], "expected": expected, "answer": answer})
                    _write(self.file, found)
        return _shown(found), bool(wanted)

    async def _answer(self, api: Api, given: Mapping[str, Any], expected: Any) -> str | None:
        from penstock.api.errors import ApiError, NotFound

        tools = {name: given[name] for name in ("tools", "parallel_tool_calls") if name in given}
        for attempt in range(_PATIENCE):
            self._books.begin(given["messages"], expected)
            try:
                completion = await api.chat.create(
                    model=self._model, messages=given["messages"], extra_body=tools or None
                )
            except ApiError as error:
                self._books.failed(error)
                # A new model may take a moment until it answers.
                if not isinstance(error, NotFound) or attempt == _PATIENCE - 1:
                    raise
                await asyncio.sleep(1.0)
            except BaseException:
                self._books.abandoned()
                raise
            else:
                self._books.answered(completion)
                return completion.text
        raise AssertionError("the last attempt returns or raises")


class _Books:
    """Enters each request in the run's budget and usage; does nothing where there is no run."""

    def __init__(self, desk: Desk, model: str) -> None:
        self._desk = desk
        self._control = desk.control
        self._model = model
        self._provider = desk.provider.name
        self._reserved: Reservation = NOTHING
        self._estimate = 0

    def is_priced(self) -> bool:
        """Whether a budget in dollars can be kept; it is noted where it cannot."""
        if self._control is not None:
            try:
                self._control.require_price(self._model, provider=self._provider)
            except InputError:
                self._desk.note(
                    f"{self._model} is not tried out: there is a budget in dollars, and the price of its answers is "
                    "not known. Give it under `prices` of the provider and run again"
                )
                return False
        return True

    def begin(self, messages: Sequence[Mapping[str, Any]], expected: Any) -> None:
        """A request is about to be sent.

        Raises:
            RunStopped: it does not fit into the budget, or the run is to stop.
        """
        if self._control is None:
            return
        count = counter(self._model).count
        prompt = sum(count(json.dumps(message.get("content"), ensure_ascii=False)) for message in messages)
        answer = count(expected) if isinstance(expected, str) else 0
        self._estimate = prompt + answer
        usage = Usage(self._model, prompt_tokens=prompt, completion_tokens=answer)
        # Nothing else is under way, so that a budget has room or has none.
        self._reserved = self._control.reserve(self._model, self._estimate, [usage], provider=self._provider) or NOTHING
        self._control.attempt_began(again=False)

    def again(self, retry: Retry) -> None:
        """A request has failed, and is sent again."""
        if self._control is not None:
            self._ended(retry.error)
            self._control.attempt_began(again=True)

    def failed(self, error: ApiError) -> None:
        """A request has failed for good."""
        if self._control is not None:
            self._ended(error)
            self._release()

    def abandoned(self) -> None:
        """Nobody waits for the answer any more."""
        if self._control is not None:
            self._control.attempt_ended("abandoned", model=self._model, estimate=self._estimate)
            self._release()

    def answered(self, completion: ChatCompletion) -> None:
        """An answer has come."""
        if self._control is None:
            return
        from penstock.api.bodies import usage_in

        usage = usage_in(json.dumps(completion.raw).encode()) or Usage()
        self._release()
        self._control.attempt_ended(
            "200",
            model=self._model,
            estimate=self._estimate,
            usage=usage,
            success=True,
            provider=self._provider,
        )

    def _ended(self, error: ApiError) -> None:
        assert self._control is not None  # noqa: S101  # looked at by the callers
        result = error.cause.value if error.status is None or error.status < 300 else str(error.status)
        self._control.attempt_ended(
            result, model=self._model, estimate=self._estimate, usage=error.facts.usage, provider=self._provider
        )

    def _release(self) -> None:
        if self._control is not None:
            self._control.release(self._reserved)
            self._reserved = NOTHING


def _kept(file: Path) -> list[dict[str, Any]]:
    """The answers of before, in the order of the examples."""
    if not file.exists():
        return []
    # Not `str.splitlines`, which also ends lines at characters that may stand in an answer.
    return [json.loads(line) for line in file.read_text("utf-8").split("\n") if line]


def _write(file: Path, found: Sequence[Mapping[str, Any]]) -> None:
    from penstock.tables.parts import whole_or_absent

    with whole_or_absent(file) as temporary:
        temporary.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in found), "utf-8")


def _parted(example: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """What is asked, without weights, and the answer that the example gives."""
    if "input" in example:
        return dict(example["input"]), example["preferred_output"][-1].get("content")
    *asked, last = example["messages"]
    plain = [{name: value for name, value in one.items() if name != "weight"} for one in asked]
    return {**example, "messages": plain}, last.get("content")


def _shown(found: Sequence[Mapping[str, Any]]) -> str:
    text = (found[0]["answer"] or "") if found else ""
    shown = " ".join(text.split())
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
