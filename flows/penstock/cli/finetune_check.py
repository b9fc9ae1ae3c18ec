"""``penstock finetune check``: a training file looked through before anybody pays for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.connection import YES, chosen_provider
from penstock.cli.console import clear_errors, print_json, say
from penstock.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from penstock.api.provider import Provider
    from penstock.cli.finetune_moderate import Verdicts
    from penstock.cli.transfer import Transfer
    from penstock.outputs.finetune.check import CheckReport
    from penstock.outputs.finetune.limits import Format, PriceOf
    from penstock.outputs.finetune.origin import Origin

CHECK_EPILOG = """Examples:

\b
  penstock finetune check train.jsonl
  penstock finetune check train.jsonl valid.jsonl --model gpt-4.1-mini-2025-04-14 --suffix support
  penstock finetune check train.jsonl valid.jsonl --group 'ticket ([0-9]+)' --report report.html
  penstock finetune check train.jsonl --structure --json
  penstock finetune check train.jsonl --moderate

Exit code 1 when there is any error; warnings alone leave it at 0. No key is needed and nothing is sent, but with
--moderate.
"""


Training = Annotated[Path, typer.Argument(metavar="FILE", help="The training file.", show_default=False)]
Validation = Annotated[
    Path | None,
    typer.Argument(
        metavar="[VALIDATION]", help="The file to measure with; it must not share examples.", show_default=False
    ),
]
Model = Annotated[str, typer.Option(help="The model to start from: its limits, vocabulary and price.")]
Suffix = Annotated[
    str | None,
    typer.Option(help="The part of the new model's name that the job will ask for.", show_default=False),
]
SuffixRule = Annotated[
    int, typer.Option(min=1, help="Characters that a suffix may have: 64 today, 18 in the 2024 API.")
]
Context = Annotated[
    int | None,
    typer.Option(min=1, help="Tokens of an example that it trains on; by --model if left out.", show_default=False),
]
Images = Annotated[
    bool | None,
    typer.Option(
        "--images/--no-images", help="Whether it is trained on images; by --model if left out.", show_default=False
    ),
]
Formats = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="What it is tuned with: chat, preference, or both with a comma; by --model if left out.",
        show_default=False,
    ),
]
Price = Annotated[
    float | None,
    typer.Option(min=0, help="Dollars per million tokens trained on; by --model if left out.", show_default=False),
]
Near = Annotated[
    str,
    typer.Option(
        help="How alike two examples are told, from 50%: the share of runs of three words that they have in common. "
        "`off` looks for equal ones only."
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="What it matches in an example (its first group, if it has one) names the example's group; a group must "
        "not be in both files.",
        show_default=False,
    ),
]
NoPersonal = Annotated[bool, typer.Option("--no-personal", help="Look for no personal data and keys.")]
NoTokens = Annotated[bool, typer.Option("--no-tokens", help="Count no tokens, and so no cost.")]
Structure = Annotated[
    bool, typer.Option("--structure", help="The file, its lines and equal examples only: many times as fast.")
]
Moderate = Annotated[
    bool,
    typer.Option(
        "--moderate",
        help="Send the texts to the moderations endpoint, and tell what it flags. How much is sent "
        "and what it costs is said first.",
    ),
]
ProviderName = Annotated[str, typer.Option("--provider", help="For --moderate: openai, or sandbox.")]
BaseUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="For --moderate: the server's address with the version.", show_default=False),
]
KeyVariable = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="For --moderate: the environment variable that holds the key.", show_default=False
    ),
]
Page = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="FILE.html", help="Write all of it as one page for a browser.", show_default=False
    ),
]
Show = Annotated[int, typer.Option(min=1, help="How many problems of each kind are shown; all are counted.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs.")]


def check(
    training: Training,
    validation: Validation = None,
    model: Model = "gpt-4o-mini-2024-07-18",
    suffix: Suffix = None,
    suffix_rule: SuffixRule = 64,
    context: Context = None,
    images: Images = None,
    formats: Formats = None,
    price: Price = None,
    near: Near = "80%",
    group: Group = None,
    no_personal: NoPersonal = False,
    no_tokens: NoTokens = False,
    structure: Structure = False,
    moderate: Moderate = False,
    provider: ProviderName = "openai",
    base_url: BaseUrl = None,
    key_variable: KeyVariable = None,
    yes: bool = YES,
    report: Page = None,
    show: Show = 10,
    as_json: AsJson = False,
) -> None:
    """Find every fault of a training file with its line, then show lengths, tokens, epochs and cost."""
    from penstock.outputs.finetune.check import check_files
    from penstock.outputs.finetune.limits import Rules

    with clear_errors(as_json=as_json):
        rules = Rules.of(
            model,
            context=context,
            images=images,
            formats=_formats(formats),
            suffix_longest=suffix_rule,
            group=_pattern(group),
            **_looks(near=near, personal=not no_personal, tokens=not no_tokens, structure=structure),
        )
        asked = chosen_provider(provider, base_url, key_variable) if moderate else None
        verdicts = _verdicts(training, validation, asked, yes)
        found = check_files(
            training,
            validation,
            rules=rules,
            suffix=suffix,
            most=show,
            price_of=_price(price),
            training_origin=_origin(verdicts, training),
            validation_origin=_origin(verdicts, validation),
            progress=(progress := _Progress()),
        )
        progress.end()
        if verdicts is not None and verdicts.failed:
            found.job.add("not_moderated", 0, verdicts.failure, times=verdicts.failed)
        _tell(found, report, as_json=as_json)
        if found.errors:
            raise SystemExit(int(ExitCode.ROWS_FAILED))


class _Progress:
    """How far the reading is, on standard error; long checks only, but on a terminal."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._transfer: Transfer | None = None
        self._size = 0

    def __call__(self, path: Path, done: int) -> None:
        from penstock.cli.transfer import Transfer

        if self._transfer is None or path != self._path:
            self.end()
            self._path, self._transfer, self._size = path, Transfer(f"checking {path.name}"), path.stat().st_size
        self._transfer(min(done, self._size), self._size)

    def end(self) -> None:
        """Leave the line to whoever writes next."""
        if self._transfer is not None:
            self._transfer.end()


def _tell(found: CheckReport, page: Path | None, *, as_json: bool) -> None:
    from penstock.outputs.finetune.report import as_dict, as_lines

    if page is not None:
        _write_page(page, found)
    if as_json:
        print_json(as_dict(found))
        return
    for line in as_lines(found):
        say(line)
    if page is not None:
        say(f"report: {page}")


def _looks(*, near: str, personal: bool, tokens: bool, structure: bool) -> dict[str, Any]:
    from penstock.outputs.finetune.limits import KINDS

    if structure:
        return {"near": None, "personal": (), "tokens": False}
    return {"near": _near(near), "personal": KINDS if personal else (), "tokens": tokens}


def _near(text: str) -> float | None:
    from penstock.errors import UsageError
    from penstock.values import parse_share

    if text == "off":
        return None
    try:
        share = parse_share(text)
    except ValueError as error:
        raise UsageError(f"--near: {error}") from None
    if not 0.5 <= share <= 1:
        raise UsageError(f"--near is from 50% to 100%, or off, and got {text!r}")
    return share


def _formats(text: str | None) -> tuple[Format, ...] | None:
    from penstock.errors import UsageError
    from penstock.outputs.finetune.limits import FORMATS

    if text is None:
        return None
    asked = [one.strip() for one in text.split(",")]
    if unknown := [one for one in asked if one not in FORMATS]:
        raise UsageError(f"--formats: {unknown[0]!r} is none of {', '.join(FORMATS)}")
    return tuple(one for one in FORMATS if one in asked)


def _pattern(text: str | None) -> str | None:
    from penstock.errors import UsageError

    try:
        if text is not None:
            re.compile(text)
    except re.error as error:
        raise UsageError(f"--group is no regular expression: {error}") from None
    return text


def _price(price: float | None) -> PriceOf:
    from penstock.outputs.finetune.limits import TrainingPrice, listed_price

    own = None if price is None else TrainingPrice(price, "--price")
    return listed_price if own is None else lambda _: own


def _verdicts(training: Path, validation: Path | None, provider: Provider | None, yes: bool) -> Verdicts | None:
    if provider is None:
        return None
    from penstock.cli.finetune_moderate import moderate_files

    return moderate_files([training, *([validation] if validation else [])], provider, yes=yes)


def _origin(verdicts: Verdicts | None, path: Path | None) -> Origin | None:
    from penstock.outputs.finetune.origin import Origin

    if verdicts is None or path is None:
        return None
    return Origin(flagged=verdicts.flagged[path].get)


def _write_page(path: Path, found: CheckReport) -> None:
    from penstock.errors import InputError
    from penstock.outputs.finetune.page import as_page

    try:
        path.write_text(as_page(found), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
