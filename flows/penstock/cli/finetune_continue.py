"""``penstock finetune continue``: from a folder that a `finetune` output wrote to the new model."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from penstock.cli.console import clear_errors, print_json, say, warn
from penstock.cli.exit_codes import ExitCode
from penstock.errors import InputError, Interrupted, UsageError

if TYPE_CHECKING:
    from penstock.api.provider import Provider
    from penstock.outputs.base import Delivery
    from penstock.outputs.finetune.delivery import Wish

CONTINUE_EPILOG = """Examples:

\b
  penstock finetune continue out/support-model
  penstock finetune continue out/support-model --yes --no-wait
  penstock finetune continue out/support-model --again
  penstock finetune continue out/support-model --key-variable OPENAI_API_KEY --upload-only

What the lock file beside the folder says was done is not done again. Exit codes: 0 done, 1 the check found errors or
the job failed, 3 the service did not answer, 130 interrupted; a job that was started goes on.
"""


def continue_(
    folder: Path = typer.Argument(..., metavar="FOLDER", help="The folder of the output.", show_default=False),
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask first."),
    wait: bool | None = typer.Option(
        None,
        "--wait/--no-wait",
        help="Stay until the job has ended; as the pipeline says if left out.",
        show_default=False,
    ),
    again: bool = typer.Option(False, "--again", help="Start another job in the place of one that failed."),
    upload_only: bool = typer.Option(False, "--upload-only", help="Upload, and start no job."),
    provider: str | None = typer.Option(
        None, "--provider", help="openai or sandbox; the pipeline's if left out.", show_default=False
    ),
    base_url: str | None = typer.Option(
        None, "--base-url", metavar="URL", help="The server's address with the version.", show_default=False
    ),
    key_variable: str | None = typer.Option(
        None, "--key-variable", metavar="NAME", help="The environment variable that holds the key.", show_default=False
    ),
    as_json: bool = typer.Option(False, "--json", help="JSON for programs."),
) -> None:
    """Upload what a `finetune` output wrote, start its job, and wait for the new model; each only if not yet done."""
    with clear_errors(as_json=as_json):
        from penstock.outputs.finetune.dataset import read_manifest
        from penstock.outputs.finetune.delivery import Wish

        read_manifest(folder)
        chosen = (provider, base_url, key_variable)
        with _server(folder, chosen) as (settings, facts):
            wish = Wish(wait=wait, again=again, upload_only=upload_only)
            done = go_on(folder, settings, facts, wish, yes=yes, quiet=as_json)
        if as_json:
            print_json({"ok": not done.failure, "failure": done.failure or None, **done.facts})
        elif done.failure:
            warn(f"penstock: {done.failure}")
        if done.failure:
            raise SystemExit(int(ExitCode.ROWS_FAILED))


def offer(folder: Path) -> bool:
    """After a run at a terminal: ask, and go on if wanted; whether something failed."""
    from penstock.outputs.finetune.delivery import Wish

    with _server(folder, (None, None, None)) as (settings, facts):
        try:
            done = go_on(folder, settings, facts, Wish(), yes=False, quiet=False)
        except Interrupted as error:
            say(str(error))
            return False
    if done.failure:
        warn(f"penstock: {done.failure}")
    return bool(done.failure)


def go_on(
    folder: Path, provider: Provider, facts: Mapping[str, Any], wish: Wish, *, yes: bool, quiet: bool
) -> Delivery:
    """Ask, then deliver with a display.

    Raises:
        Interrupted: the answer is no, or Ctrl-C.
        UsageError: nobody can answer.
        InputError: the folder is none of a `finetune` output.
        RunStopped: the service fails for now.
    """
    from penstock.cli.connection import confirm
    from penstock.cli.job_display import JobDisplay
    from penstock.outputs.base import Desk
    from penstock.outputs.finetune.dataset import read_manifest
    from penstock.outputs.finetune.delivery import command_for, deliver, refused

    manifest = read_manifest(folder)
    if not refused(folder, manifest) and not _is_begun(folder, manifest, facts, wish):
        confirm(_question(folder, manifest, facts, wish), yes)
    stop = _Stop()
    with JobDisplay(quiet=quiet) as display, stop.watching():
        desk = Desk(provider, facts, check=stop.check, tell=display.tell, note=display.note)
        try:
            return deliver(folder.absolute(), desk, upload="always", wish=wish)
        except Interrupted:
            raise Interrupted(f"interrupted; go on with: {command_for(folder.absolute())}") from None


def _is_begun(folder: Path, manifest: Mapping[str, Any], facts: Mapping[str, Any], wish: Wish) -> bool:
    """Whether somebody has agreed before: then there is only a job to look at."""
    from penstock.outputs.finetune.delivery import server_lock
    from penstock.outputs.finetune.jobs import digest_of

    if manifest["job"] is None or wish.again or wish.upload_only:
        return False
    return "id" in server_lock(folder.absolute(), facts).job(digest_of(manifest))


def _question(folder: Path, manifest: Mapping[str, Any], facts: Mapping[str, Any], wish: Wish) -> str:
    from penstock.outputs.finetune.costs import cost_of
    from penstock.values import format_size

    names = ("train", "validation")
    files = [entry for name in names if (entry := manifest["sets"].get(name))]
    size = format_size(sum(entry["bytes"] for entry in files))
    where = facts.get("base_url") or "the sandbox"
    job = manifest["job"] is not None and not wish.upload_only
    cost = cost_of(manifest) if job else None
    then = f" and train {manifest['model']}" if job else ""
    then += f" for {cost.words()}" if cost is not None else ""
    return f"Upload {len(files)} file{'s' if len(files) > 1 else ''} of {folder} ({size}) to {where}{then}?"


class _Stop:
    """Ctrl-C and SIGTERM as a wish to stop, which is looked at between two moments of waiting."""

    def __init__(self) -> None:
        self._wanted = False

    def check(self) -> None:
        """Raise `Interrupted` if somebody asked to stop."""
        if self._wanted:
            raise Interrupted("interrupted")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take the signals within the block."""

        def wanted(number: int, frame: object) -> None:  # noqa: ARG001  # of the signal module
            self._wanted = True

        before = {one: signal.signal(one, wanted) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


@contextmanager
def _server(
    folder: Path, chosen: tuple[str | None, str | None, str | None]
) -> Iterator[tuple[Provider, Mapping[str, Any]]]:
    """The server that the options or the lock file name, as a provider and as the lock file has it.

    Raises:
        UsageError: nothing names one.
    """
    from penstock.cli.connection import chosen_provider
    from penstock.outputs.finetune.lock import Lock

    if any(chosen):
        provider = chosen_provider(chosen[0] or "openai", chosen[1], chosen[2])
        yield provider, {"base_url": provider.base_url, "key_variable": provider.api_key and provider.api_key.name}
        return
    servers = [one["server"] for one in Lock.of(folder.absolute()).servers.values()]
    if len(servers) != 1:
        what = "no server" if not servers else f"{len(servers)} servers"
        raise UsageError(f"the lock file of {folder} names {what}; say which with --provider or --base-url")
    with _started(folder.absolute(), servers[0]) as found:
        yield found


@contextmanager
def _started(folder: Path, facts: Mapping[str, Any]) -> Iterator[tuple[Provider, Mapping[str, Any]]]:
    from penstock.spec.provider import SANDBOX_KEY, OpenAISettings, SandboxSettings

    if "state" not in facts:
        settings = OpenAISettings(
            base_url=facts["base_url"],
            api_key=_key_reference(facts),
            organization=facts.get("organization"),
            project=facts.get("project"),
        )
        if settings.key_block:
            from penstock.flow.secret_blocks import offer_blocks

            offer_blocks([settings.key_block])
        yield settings.to_provider("openai"), facts
        return
    from penstock.sandbox.launch import start
    from penstock.sandbox.settings import DEFAULT_KEY

    state = (folder.parent / facts["state"]).resolve()
    if not state.is_dir():
        raise InputError(f"the sandbox's folder {state} is gone, and what was uploaded with it; run the pipeline again")
    with start(state=str(state)) as server:
        os.environ[SANDBOX_KEY] = DEFAULT_KEY
        yield SandboxSettings().to_provider("sandbox", server.url), {**facts, "state": str(state)}


def _key_reference(facts: Mapping[str, Any]) -> str | None:
    """Where the key is, as a pipeline would write it; None where the server needs none."""
    if block := facts.get("key_block"):
        return f"${{prefect-secret:{block}}}"
    variable = facts.get("key_variable")
    return f"${{{variable}}}" if variable else None
