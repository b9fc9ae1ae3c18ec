"""All that is wrong with one example, by its format: chat (with tools, with images) or preference (DPO).

Sources: the service's guides on supervised, vision and preference fine-tuning, and the errors that users quote.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.outputs.finetune.example import count_images
from penstock.outputs.finetune.limits import MOST_IMAGES, Format, Rules
from penstock.outputs.finetune.messages import Fault, check_messages, kind_of
from penstock.outputs.finetune.tools import check_calls, check_tools

CHAT_KEYS = {"messages", "tools", "functions", "parallel_tool_calls"}
_INPUT_KEYS = CHAT_KEYS
OUTPUTS = ("preferred_output", "non_preferred_output")
PREFERENCE_KEYS = {"input", *OUTPUTS}


def format_of(value: Any) -> Format | None:
    """The format that an object's keys tell; None when they tell none."""
    if not isinstance(value, dict):
        return None
    if "messages" in value:
        return "chat"
    return "preference" if value.keys() & PREFERENCE_KEYS else None


def check_example(value: Any, form: Format, rules: Rules) -> Iterator[Fault]:
    """All that is wrong with what a line holds, in the order of its text as far as there is one."""
    if not isinstance(value, dict):
        yield "not_object", f"the line holds {kind_of(value)}, not an object"
        return
    if "messages" not in value and value.keys() & {"prompt", "completion"}:
        yield "legacy_format", "'prompt' and 'completion' are for base models; chat models take 'messages'"
        return
    told = format_of(value)
    if told is not None and told != form:
        yield "mixed_formats", f"a {told} line in a file that begins with {form} lines"
    if rules.formats is not None and (told or form) not in rules.formats:
        yield "format_not_taken", f"{rules.model} is tuned with {' and '.join(rules.formats)} lines only"
    yield from _preference(value) if (told or form) == "preference" else _chat(value)
    yield from _check_images(value, rules)


def _chat(value: dict[str, Any]) -> Iterator[Fault]:
    yield from _unknown(value, CHAT_KEYS, "")
    if "messages" not in value:
        yield "no_messages", "there is no 'messages'"
        return
    messages = value["messages"]
    yield from check_messages(messages)
    yield from check_tools(value)
    if not isinstance(messages, list) or not (readable := [one for one in messages if isinstance(one, dict)]):
        return
    answers = [message for message in readable if message.get("role") == "assistant"]
    if not answers:
        yield "no_assistant", "no message is from the assistant, so there is nothing to learn"
    elif not isinstance(messages[-1], dict) or messages[-1].get("role") != "assistant":
        yield "last_not_assistant", "the last message must be from the assistant"
    if answers and all(message.get("weight", 1) == 0 for message in answers):
        yield "nothing_to_train", "every message from the assistant has weight 0, so there is nothing to learn"
    yield from check_calls(readable, value.get("tools"))


def _preference(value: dict[str, Any]) -> Iterator[Fault]:
    yield from _unknown(value, PREFERENCE_KEYS, "")
    given = value.get("input")
    if not isinstance(given, dict):
        yield "missing_input", "'input' must be an object with 'messages'"
    elif "messages" not in given:
        yield "no_messages", "there is no 'messages' in 'input'"
    else:
        yield from _unknown(given, _INPUT_KEYS, " of 'input'")
        messages = given["messages"]
        yield from check_messages(messages, "input.messages")
        yield from check_tools(given)
        if isinstance(messages, list) and messages and _role(messages[-1]) == "assistant":
            yield "input_ends_with_assistant", "the input must end before the answer that is compared"
    for key in OUTPUTS:
        if key not in value:
            yield "missing_output", f"there is no {key!r}"
            continue
        yield from check_messages(value[key], key)
        messages = value[key] if isinstance(value[key], list) else []
        if any(
            isinstance(one, dict) and one.get("role") in ("system", "developer", "user", "tool", "function")
            for one in messages
        ):
            yield "output_not_assistant", f"{key!r} must hold messages from the assistant only"
    if "preferred_output" in value and value["preferred_output"] == value.get("non_preferred_output"):
        yield "same_outputs", "the preferred output is the other one too, so there is nothing to learn"


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, dict) else None


def _unknown(value: dict[str, Any], known: set[str], where: str) -> Iterator[Fault]:
    for key in sorted(value.keys() - known):
        yield "unknown_key", f"the key {key!r}{where} is unknown; allowed are {', '.join(sorted(known))}"


def _check_images(value: dict[str, Any], rules: Rules) -> Iterator[Fault]:
    given = value.get("input")
    messages = given.get("messages") if isinstance(given, dict) else value.get("messages")
    images = sum(count_images(one) for one in messages if isinstance(one, dict)) if isinstance(messages, list) else 0
    if images and rules.images is False:
        yield "image_not_taken", f"{rules.model} is not trained on images; gpt-4o-2024-08-06 is"
    if images > MOST_IMAGES:
        yield "too_many_images", f"{images} images; {MOST_IMAGES} are allowed in an example"
