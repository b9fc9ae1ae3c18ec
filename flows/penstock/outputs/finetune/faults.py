"""What can be wrong with a training file: each fault by its code, how bad it is, and where it was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from penstock.secrets import redact

Severity = Literal["error", "warning"]

ERRORS = {
    "not_utf8": "not UTF-8",
    "byte_order_mark": "a byte order mark at the beginning",
    "blank_line": "a blank line",
    "line_too_long": "a line too long to be read",
    "not_json": "not JSON",
    "not_object": "not a JSON object",
    "duplicate_key": "a key that stands twice in one object",
    "bad_text": "half a surrogate pair, which is no character",
    "legacy_format": "a prompt and completion line, which chat models do not take",
    "mixed_formats": "a line of another format than the first",
    "format_not_taken": "a format that the model is not tuned with",
    "unknown_key": "an unknown key of an example",
    "no_messages": "no messages",
    "bad_messages": "messages that are not a list",
    "empty_messages": "an empty list of messages",
    "message_not_object": "a message that is not an object",
    "unknown_role": "an unknown role",
    "missing_role": "a message without a role",
    "unknown_message_key": "an unknown key of a message",
    "missing_content": "a message without content",
    "null_content": "content that is null",
    "bad_content": "content that is neither text nor a list of parts",
    "empty_answer": "an answer without text",
    "bad_part": "a part of content that is neither text nor image",
    "bad_name": "a name that is not text",
    "bad_weight": "a weight other than 0 or 1",
    "weight_not_assistant": "a weight on a message that is not from the assistant",
    "nothing_to_train": "only answers with weight 0",
    "no_assistant": "no message from the assistant",
    "last_not_assistant": "a last message that is not from the assistant",
    "reserved_token": "a token that is reserved for the service",
    "bad_tools": "tools that are not a list of functions",
    "bad_tool_name": "a tool without a valid name",
    "duplicate_tool": "two tools with one name",
    "bad_tool_schema": "parameters of a tool that are not a valid JSON Schema",
    "bad_parallel_tool_calls": "parallel_tool_calls that is neither true nor false",
    "bad_tool_calls": "tool calls that are not calls of functions",
    "missing_tool_call_id": "a tool's message without tool_call_id",
    "tool_calls_not_assistant": "tool calls in a message that is not from the assistant",
    "image_not_user": "an image in a message that is not from the user",
    "image_not_taken": "an image for a model that takes none",
    "bad_image": "an image without a usable address",
    "image_too_large": "an image over 10 MB",
    "too_many_images": "more than 10 images in an example",
    "missing_input": "a preference example without input",
    "missing_output": "a preference example without one of its outputs",
    "output_not_assistant": "an output that holds other messages than the assistant's",
    "input_ends_with_assistant": "an input that ends with the assistant",
    "over_context": "more tokens than the model trains on",
    "too_few_examples": "fewer than 10 examples",
    "file_too_large": "a file over 512 MB",
    "too_many_image_examples": "more than 50,000 examples with images",
    "suffix_too_long": "a suffix too long",
    "suffix_empty": "an empty suffix",
}
WARNINGS = {
    "file_name": "a file whose name does not end in .jsonl",
    "no_system": "no system message, against most of the others",
    "short_answer": "a very short answer, against most of the others",
    "empty_content": "an empty message",
    "arguments_not_json": "arguments of a tool call that are not a JSON object",
    "undeclared_tool": "a call of a tool that is not among the example's tools",
    "tool_without_call": "a tool's message that answers no call",
    "call_without_answer": "a tool call without an answer before the next message",
    "same_outputs": "a preference between two equal outputs",
    "duplicate": "an example that stands in the file before",
    "contradiction": "another answer to the same prompt",
    "near_duplicate": "an example much like one that stands in the file before",
    "leak": "a validation example that is also trained on",
    "leak_prompt": "a validation prompt that is also trained on, spaces and case aside",
    "leak_near": "a validation example much like one that is trained on",
    "leak_group": "a validation example of a group that is also trained on",
    "over_context_estimated": "more tokens than the model trains on, if tools and images count as estimated",
    "secret": "something shaped like a key",
    "personal_mail": "a mail address",
    "personal_phone": "a telephone number",
    "personal_card": "the number of a payment card",
    "personal_iban": "an account number (IBAN)",
    "personal_ip": "an IP address",
    "flagged": "content that was flagged as harmful",
    "not_moderated": "content of which no verdict came",
}
TITLES = {**ERRORS, **WARNINGS}
"""What each code stands for, in words."""
EXAMPLES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault at one place.

    Attributes:
        code: one of `ERRORS` or `WARNINGS`.
        line: from 1; 0 when it is about the file as a whole.
        message: what is wrong, with the value at fault, and what is allowed. Without keys.
        row: the key of the row that the line was made of, where an output wrote the file; without keys too.
    """

    code: str
    line: int
    message: str
    row: str | None = None

    @property
    def severity(self) -> Severity:
        """Whether it keeps the file from being trained on."""
        return "error" if self.code in ERRORS else "warning"


@dataclass(slots=True)
class Found:
    """What was found in one file: all of it counted by code, and the first of each kept.

    Attributes:
        most: how many problems of each code are kept; None for all of them.
        row_of: the key of the row that a line was made of; None where lines come from no rows.
    """

    most: int | None = EXAMPLES_SHOWN
    row_of: Callable[[int], str | None] | None = None
    counts: Counter[str] = field(default_factory=Counter)
    kept: dict[str, list[Problem]] = field(default_factory=dict)

    def add(self, code: str, line: int, message: str, *, times: int = 1) -> None:
        """Count a problem, `times` when it stands for as many, and keep it if there is room."""
        self.counts[code] += times
        kept = self.kept.setdefault(code, [])
        if self.most is None or len(kept) < self.most:
            row = self.row_of(line) if self.row_of is not None and line else None
            kept.append(Problem(code, line, redact(message), None if row is None else redact(row)))

    @property
    def errors(self) -> int:
        """How many errors."""
        return sum(count for code, count in self.counts.items() if code in ERRORS)

    @property
    def warnings(self) -> int:
        """How many warnings."""
        return sum(count for code, count in self.counts.items() if code in WARNINGS)

    def problems(self) -> list[Problem]:
        """All that were kept, in the order of the file."""
        return sorted((one for kept in self.kept.values() for one in kept), key=lambda one: one.line)
