"""Checks a training file as the service does before it trains: the first problem fails the job.

Sources: the service's guides on supervised and preference fine-tuning, and the errors that users quote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from penstock.sandbox.tokens import count_tokens

LEAST_EXAMPLES = 10
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_MESSAGE_KEYS = frozenset(
    {"role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call", "refusal"}
)
_EXAMPLE_KEYS = frozenset({"messages", "tools", "functions", "parallel_tool_calls"})
_RESERVED = ("<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|endofprompt|>", "<|im_start|>")
_TOKENS_AROUND = 4
"""Tokens of a message beside its content: its role and its ends."""


class BadTrainingFile(Exception):
    """The file cannot be trained on.

    Attributes:
        code: for programs, as in the job's ``error``.
        message: for people.
    """

    def __init__(self, message: str, code: str = "invalid_training_file") -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What is known of a good file.

    Attributes:
        examples: lines.
        tokens: of all examples, once.
    """

    examples: int
    tokens: int


def check_training_file(path: Path, method: str, name: str = "training") -> TrainingData:
    """Read a whole file.

    Args:
        path: the file.
        method: ``supervised`` (chat lines), ``dpo`` (preference lines) or ``completions`` (prompt and completion).
        name: ``training`` or ``validation``, for the messages.

    Raises:
        BadTrainingFile: with the first problem.
    """
    check: Callable[[dict[str, Any], int], int] = {"dpo": _preference, "completions": _completion}.get(method, _chat)
    examples = tokens = 0
    try:
        for number, example in _lines(path):
            examples += 1
            tokens += check(example, number)
    except FileNotFoundError:
        raise BadTrainingFile(f"The {name} file was deleted before it was read.", "file_not_found") from None
    except BadTrainingFile as problem:
        problem.message = (
            f"The job failed due to a file format error in the {name} file. Invalid file format. {problem.message}"
        )
        raise
    if name == "training" and examples < LEAST_EXAMPLES:
        raise BadTrainingFile(
            f"Training file has {examples} example(s), but must have at least {LEAST_EXAMPLES} examples",
            "invalid_n_examples",
        )
    return TrainingData(examples, tokens)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                example = msgspec.json.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                raise BadTrainingFile(f"Line {number} is not valid JSON.{_hint(line)}") from None
            if not isinstance(example, dict):
                raise BadTrainingFile(f"Line {number} is not a JSON object.{_hint(line)}")
            yield number, example


def _hint(line: bytes) -> str:
    if not line.strip():
        return " (HINT: the line is empty.)"
    if line.startswith(b"\xef\xbb\xbf"):
        return " (HINT: the file starts with a byte order mark; save it without one.)"
    return f' (HINT: line starts with: "{line[:20].decode(errors="replace").strip()}...")'


def _chat(example: dict[str, Any], number: int) -> int:
    if unknown := sorted(example.keys() - _EXAMPLE_KEYS):
        raise BadTrainingFile(f'Example {number} has an unexpected key: "{unknown[0]}".')
    if "messages" not in example:
        raise BadTrainingFile(f'Example {number} is missing key "messages".')
    tokens = _messages(example["messages"], number, "messages")
    answers = [message for message in example["messages"] if message["role"] == "assistant"]
    if not answers:
        raise BadTrainingFile(f"Example {number} has no message from the assistant.")
    if example["messages"][-1]["role"] != "assistant":
        raise BadTrainingFile(f"Example {number}: the last message must be from the assistant.")
    if all(message.get("weight") == 0 for message in answers):
        raise BadTrainingFile(f"Example {number} has no message from the assistant with a weight above 0.")
    for key in ("tools", "functions"):
        if key in example:
            _tools(example[key], number, key)
    return tokens


def _preference(example: dict[str, Any], number: int) -> int:
    keys = {"input", "preferred_output", "non_preferred_output"}
    for key in sorted(keys - example.keys()):
        raise BadTrainingFile(f'Example {number} is missing key "{key}".')
    given = example["input"]
    if not isinstance(given, dict) or "messages" not in given:
        raise BadTrainingFile(f'Example {number}: "input" must be an object with the key "messages".')
    tokens = _messages(given["messages"], number, "input.messages")
    for key in ("preferred_output", "non_preferred_output"):
        tokens += _messages(example[key], number, key)
        if any(message["role"] != "assistant" for message in example[key]):
            raise BadTrainingFile(f'Example {number}: "{key}" must hold messages from the assistant only.')
    return tokens


def _completion(example: dict[str, Any], number: int) -> int:
    for key in ("prompt", "completion"):
        if not isinstance(example.get(key), str):
            raise BadTrainingFile(f'Example {number} is missing key "{key}", or it is no string.')
    return count_tokens(example["prompt"]) + count_tokens(example["completion"])


def _messages(messages: Any, number: int, key: str) -> int:
    if not isinstance(messages, list) or not messages:
        raise BadTrainingFile(f'Example {number}: "{key}" must be a list with at least one message.')
    tokens = 0
    for place, message in enumerate(messages, 1):
        where = f"Example {number}, message {place}"
        if not isinstance(message, dict):
            raise BadTrainingFile(f"{where} is not an object.")
        tokens += _message(message, where)
    return tokens


def _message(message: dict[str, Any], where: str) -> int:
    role = message.get("role")
    if role not in _ROLES:
        raise BadTrainingFile(f"{where}: role {role!r} is not one of {', '.join(_ROLES)}.")
    if unknown := sorted(message.keys() - _MESSAGE_KEYS):
        raise BadTrainingFile(f'{where} has an unexpected key: "{unknown[0]}".')
    if "weight" in message and (role != "assistant" or message["weight"] not in (0, 1)):
        raise BadTrainingFile(f'{where}: "weight" must be 0 or 1, and only in messages from the assistant.')
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise BadTrainingFile(f'{where} is from a tool and must have a "tool_call_id".')
    calls = message.get("tool_calls")
    if calls is not None:
        _calls(calls, where)
    content = message.get("content")
    if content is None and role == "assistant" and (calls or message.get("function_call") or message.get("refusal")):
        return _TOKENS_AROUND + count_tokens(msgspec.json.encode(calls or message).decode())
    text = _text(content, role, where)
    for token in _RESERVED:
        if token in text:
            raise BadTrainingFile(f"{where} contains an invalid token: {token}.")
    return _TOKENS_AROUND + count_tokens(text)


def _calls(calls: Any, where: str) -> None:
    if not isinstance(calls, list) or not calls:
        raise BadTrainingFile(f'{where}: "tool_calls" must be a list with at least one call.')
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        good = isinstance(function, dict) and all(isinstance(function.get(key), str) for key in ("name", "arguments"))
        if not good or not isinstance(call.get("id"), str):
            raise BadTrainingFile(
                f'{where}: each tool call needs an "id" and a "function" with "name" and "arguments".'
            )


def _text(content: Any, role: str, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise BadTrainingFile(f'{where}: "content" is missing or is neither a string nor a list of parts.')
    texts: list[str] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif not (kind == "image_url" and role == "user" and isinstance(part.get("image_url"), dict)):
            raise BadTrainingFile(f'{where}: a part of "content" is neither a text nor an image from the user.')
    return "\n".join(texts)


def _tools(tools: Any, number: int, key: str) -> None:
    good = isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)
    if good and key == "tools":
        good = all(isinstance(tool.get("function"), dict) for tool in tools)
        tools = [tool["function"] for tool in tools] if good else []
    if not good or not all(isinstance(tool.get("name"), str) for tool in tools):
        raise BadTrainingFile(f'Example {number}: "{key}" must be a list of functions, each with a name.')
