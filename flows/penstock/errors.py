"""Every exception that Penstock raises on purpose, divided by what the caller can do about it.

::

    PenstockError
    ├── UsageError              the command line is wrong: exit code 2
    ├── InputError              a file, a setting or an environment variable is wrong: mend it and start again
    │   ├── SpecError           the pipeline file has mistakes; carries all of them with their places
    │   └── ExpressionError     one template or SQL expression is wrong; carries its place in the text
    ├── RunStopped              the run ended early, nothing paid for is lost, and it can be resumed
    │   ├── Interrupted         somebody asked it to stop (Ctrl-C, SIGTERM, cancelled in Prefect)
    │   ├── BudgetSpent         the budget of the pipeline is used up
    │   ├── QuotaExhausted      the account behind the key has no money or quota left
    │   ├── AccessDenied        the key is missing, wrong, or may not use the model
    │   ├── TooManyFailures     more rows failed than the pipeline allows
    │   ├── NoSuccess           no request has succeeded for a long time
    │   ├── LimitsDiffer        another limit is counted for all machines than the pipeline says
    │   ├── SourceChanged       the source is not what was planned any more
    │   ├── StorageFailed       the disk is full or a folder cannot be written
    │   ├── DeliveryFailed      what was published could not be brought to the service, for now
    │   └── FunctionFailed      a function of the user's own raised; its exception is the cause
    ├── RunLocked               another run of the same pipeline is going on
    ├── TakenOver               another worker of the run has the partition now
    ├── UnusableAnswer          a step cannot read what the server sent: asked again, then an error row
    │   ├── AskAgain            the answer is not as it should be: the next request tells the model why
    │   └── InvalidAnswer       the answer is not as it should be, and that is the end of it: an error row
    ├── FileChanged             a file that one row names is not what was looked at: an error row
    ├── RequestFailed           one request got no answer (its kinds stand in penstock.api.errors)
    └── AccountError            rows do not add up: a defect of Penstock, never of the data

A message says what is wrong, with the value at fault, and then what to do. It never holds a key.
"""

from __future__ import annotations

from dataclasses import dataclass


class PenstockError(Exception):
    """The root: catching it catches all that Penstock raises on purpose."""


class UsageError(PenstockError):
    """The command line is wrong."""


class InputError(PenstockError):
    """A file, a setting or an environment variable is wrong."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a pipeline file.

    Attributes:
        file: the path as the user gave it.
        line: 1-based; 0 when the mistake is about the file as a whole.
        column: 1-based, in characters.
        message: what is wrong and what is allowed, one sentence or two.
        hint: "did you mean" or another way out; empty when there is none.
        source: the line of the file, for the caret.
        width: how many characters the caret underlines.
    """

    file: str
    line: int
    column: int
    message: str
    hint: str = ""
    source: str = ""
    width: int = 1

    @property
    def place(self) -> str:
        """``file:line:column``, as editors and terminals make links of it."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def render(self) -> str:
        """The place and the message, then the line with a caret below the mistake, then the hint."""
        lines = [f"{self.place}: {self.message}"]
        if self.source:
            pad = "".join("\t" if mark == "\t" else " " for mark in self.source[: self.column - 1])
            lines += [f"    {self.source}", f"    {pad}{'^' * max(1, self.width)}"]
        if self.hint:
            lines.append(f"    {self.hint}")
        return "\n".join(lines)


class SpecError(InputError):
    """The pipeline file has mistakes; `problems` holds all of them in the order of the file."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))
        super().__init__("\n".join(problem.render() for problem in self.problems))

    def __reduce__(self) -> tuple[type[SpecError], tuple[list[Problem]]]:
        """Pickled by its problems, so that it crosses process borders whole."""
        return type(self), (self.problems,)


class ExpressionError(InputError):
    """One template or SQL expression is wrong; `offset` and `width` say where in its text (0-based characters)."""

    def __init__(self, message: str, *, offset: int = 0, width: int = 1, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.width = width
        self.hint = hint

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return _expression_error, (self.message, self.offset, self.width, self.hint)


def _expression_error(message: str, offset: int, width: int, hint: str) -> ExpressionError:
    return ExpressionError(message, offset=offset, width=width, hint=hint)


class RunStopped(PenstockError):
    """The run ended early; nothing paid for is lost; `penstock resume` goes on from here."""

    reason = "stopped"


class Interrupted(RunStopped):
    """Somebody asked the run to stop."""

    reason = "interrupted"


class BudgetSpent(RunStopped):
    """The next request would go over the pipeline's budget."""

    reason = "budget"


class QuotaExhausted(RunStopped):
    """The account has no money or quota left; asking again cannot help."""

    reason = "quota"


class AccessDenied(RunStopped):
    """The service does not accept the key, or not for this model."""

    reason = "access"


class TooManyFailures(RunStopped):
    """The share of failed rows went over `errors.stop_above`."""

    reason = "failures"


class NoSuccess(RunStopped):
    """No request succeeded for `errors.stop_after`."""

    reason = "no_success"


class LimitsDiffer(RunStopped):
    """Other runs share a limit of another size under the same account."""

    reason = "limits"


class SourceChanged(RunStopped):
    """A source file is not the one that was planned."""

    reason = "source_changed"


class StorageFailed(RunStopped):
    """The disk is full or a folder cannot be written."""

    reason = "storage"


class FunctionFailed(RunStopped):
    """A function of the user's own raised: a mistake in it, and never a row at fault. Its exception is the cause."""

    reason = "function"


class DeliveryFailed(RunStopped):
    """What was published could not be uploaded or followed for now; resuming goes on from there."""

    reason = "delivery"


class UnusableAnswer(PenstockError):
    """The body of a successful response is not what was asked for."""


class AskAgain(UnusableAnswer):
    """An answer that the model should mend; `payload` is what to ask it, in the place of the item's payload."""

    def __init__(self, message: str, payload: object) -> None:
        super().__init__(message, payload)
        self.payload = payload

    def __str__(self) -> str:
        return str(self.args[0])


class InvalidAnswer(UnusableAnswer):
    """A whole answer that is not as it should be; it was paid for, and asking again is of no use."""


class FileChanged(PenstockError):
    """A file that one row names was changed or taken away before its request was sent: that row is an error row."""


class RequestFailed(PenstockError):
    """One request got no answer; the kinds and their fields stand in `penstock.api.errors`."""


class RunLocked(PenstockError):
    """Another run holds the state folder of this pipeline."""


class TakenOver(PenstockError):
    """Another worker has the partition now: this one was cut off and has come back, and must not ask on."""


class AccountError(PenstockError):
    """Rows do not add up: a defect of Penstock."""
