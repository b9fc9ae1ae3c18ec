"""What a new model answers to prompts of the data, beside the answers that were expected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.outputs.finetune.sets import SetRows

if TYPE_CHECKING:
    from penstock.api import Api
    from penstock.api.fine_tuning import FineTuningJob

_PATIENCE = 30
_SHOWN = 120


async def try_out(
    api: Api, job: FineTuningJob, folder: Path, manifest: Mapping[str, Any], tell: Callable[[str], None]
) -> tuple[Path, str, bool]:
    """Ask the prompts of the first examples, and write ``answers-JOB.jsonl``; asked once, and kept.

    Returns:
        The file, the first answer shortened, and whether anything was asked.

    Raises:
        ApiError: the model does not answer.
    """
    from penstock.tables.parts import whole_or_absent

    target = folder / f"answers-{job.id}.jsonl"
    if target.exists():
        return target, _first(target), False
    model = job.fine_tuned_model or ""
    entry = manifest["sets"].get("validation") or manifest["sets"]["train"]
    with (folder / entry["file"]).open(encoding="utf-8") as file:
        examples = [json.loads(line) for line in islice(file, manifest["job"]["try_out"])]
    rows = SetRows(folder / entry["rows_file"])
    found: list[dict[str, Any]] = []
    for number, example in enumerate(examples, 1):
        tell(f"asking {model}: {number} of {len(examples)}")
        given, expected = _parted(example)
        answer = await _answer(api, model, given)
        about = {"set": entry["set"], "line": number, "rows": rows.row(number)}
        found.append({**about, "prompt": given["messages"], "expected": expected, "answer": answer})
    with whole_or_absent(target) as temporary:
        lines = [json.dumps({"model": model, **one}, ensure_ascii=False) + "\n" for one in found]
        temporary.write_text("".join(lines), "utf-8")
    return target, _first(target), True


async def _answer(api: Api, model: str, given: Mapping[str, Any]) -> str | None:
    from penstock.api.errors import NotFound

    tools = {name: given[name] for name in ("tools", "parallel_tool_calls") if name in given}
    for attempt in range(_PATIENCE):
        try:
            completion = await api.chat.create(model=model, messages=given["messages"], extra_body=tools or None)
        except NotFound:
            # A new model may take a moment until it answers.
            if attempt == _PATIENCE - 1:
                raise
            await asyncio.sleep(1.0)
        else:
            return completion.text
    raise AssertionError("the last attempt returns or raises")


def _parted(example: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """What is asked, without weights, and the answer that the example gives."""
    if "input" in example:
        return dict(example["input"]), example["preferred_output"][-1].get("content")
    *asked, last = example["messages"]
    plain = [{name: value for name, value in one.items() if name != "weight"} for one in asked]
    return {**example, "messages": plain}, last.get("content")


def _first(file: Path) -> str:
    with file.open(encoding="utf-8") as handle:
        line = handle.readline()
    text = (json.loads(line)["answer"] or "") if line.strip() else ""
    shown = " ".join(text.split())
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
