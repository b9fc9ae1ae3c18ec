"""Printing: tables and messages for people, JSON for programs, errors as one sentence without a traceback."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from penstock.cli.exit_codes import ExitCode
from penstock.cli.streams import write_out
from penstock.errors import AccountError, InputError, Interrupted, PenstockError, SpecError, UsageError
from penstock.secrets import redact


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    write_out(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def say(text: str = "") -> None:
    """One line for a person on standard output."""
    write_out(redact(text) + "\n")


def warn(text: str) -> None:
    """One line for a person on standard error."""
    sys.stderr.write(redact(text) + "\n")


def fail(message: str, code: ExitCode = ExitCode.USAGE) -> NoReturn:
    """Say what is wrong on standard error and leave with `code`."""
    warn(message)
    raise SystemExit(int(code))


def exit_code_of(error: PenstockError) -> ExitCode:
    """The exit code that tells this error."""
    if isinstance(error, Interrupted):
        return ExitCode.INTERRUPTED
    if isinstance(error, UsageError | InputError):
        return ExitCode.USAGE
    if isinstance(error, AccountError):
        return ExitCode.ROWS_FAILED
    return ExitCode.STOPPED


@contextmanager
def clear_errors(*, as_json: bool = False) -> Iterator[None]:
    """Turn an error that Penstock raised on purpose into its message and exit code; others keep their traceback."""
    try:
        yield
    except PenstockError as error:
        code = exit_code_of(error)
        if as_json:
            print_json({"error": type(error).__name__, "message": redact(str(error)), "exit_code": int(code)})
        elif isinstance(error, SpecError):
            warn(str(error))
            count = len(error.problems)
            warn(f"\n{count} mistake{'s' if count > 1 else ''} found; nothing was run.")
        else:
            warn(f"penstock: {error}")
        raise SystemExit(int(code)) from None
    except KeyboardInterrupt:
        warn("penstock: interrupted")
        raise SystemExit(int(ExitCode.INTERRUPTED)) from None
