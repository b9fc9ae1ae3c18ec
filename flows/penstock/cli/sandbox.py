"""`penstock sandbox`: the embedded server alone, for pipelines and for any other OpenAI client."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

import typer

_EPILOG = """Examples:

\b
  penstock sandbox
  penstock sandbox --fault 429:5% --fault reset:1% --latency 150ms..250ms
  penstock sandbox --rpm 500 --tpm 200_000 --seed 7
  penstock sandbox --model my-model:768 --port 0 --json

One request meets a fault of its own by the header x-sandbox-fault, for example: x-sandbox-fault: 503.
GET /_sandbox/stats shows what was asked so far. All fault names: penstock sandbox --fault list
"""


def _count(text: str | None, name: str) -> int | None:
    from penstock.errors import UsageError
    from penstock.values import parse_count

    try:
        return None if text is None else parse_count(text)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _print_faults() -> None:
    from penstock.cli.console import say
    from penstock.faults import FAULTS

    width = max(map(len, FAULTS))
    for name, fault in FAULTS.items():
        say(f"{name:<{width}}  {fault.summary.replace('`', '')}")


def _announce(host: str | None, port: int, key: str, as_json: bool) -> None:
    from penstock.cli.console import say
    from penstock.sandbox.settings import DEFAULT_KEY

    name = host or "127.0.0.1"
    root = f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
    # A key of the user's own is theirs to know: it is not printed again.
    shown = key if key == DEFAULT_KEY else None
    if as_json:
        ready = {"url": f"{root}/v1", "key": shown, "stats": f"{root}/_sandbox/stats", "pid": os.getpid()}
        sys.stdout.write(json.dumps(ready) + "\n")
    else:
        say(f"Penstock sandbox at {root}/v1, key: {shown or 'the one you gave'}")
        say("\nPoint any OpenAI client at it:")
        say(f"  export OPENAI_BASE_URL={root}/v1")
        say(f"  export OPENAI_API_KEY={shown or '(your --key)'}")
        say(f"\nWhat was asked so far: {root}/_sandbox/stats")
        say("Ctrl-C ends it.")
    sys.stdout.flush()


def sandbox(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8080,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Left out: this machine only, other host names refused.")
    ] = None,
    key: Annotated[str, typer.Option(help="The one key that is good.", envvar="PENSTOCK_SANDBOX_KEY")] = "sk-sandbox",
    fault: Annotated[
        list[str] | None, typer.Option(help="NAME:SHARE such as 429:5%, NAME:xN for the next N, or 'list'. Repeatable.")
    ] = None,
    latency: Annotated[
        str | None, typer.Option(help="Hold each answer back: 200ms, or a range such as 150ms..250ms.")
    ] = None,
    rpm: Annotated[str | None, typer.Option(help="Requests per minute for each model, enforced with 429.")] = None,
    tpm: Annotated[str | None, typer.Option(help="Tokens per minute for each model, enforced with 429.")] = None,
    queue: Annotated[
        str | None, typer.Option(help="Tokens that may wait in batches, for each model; more fail a batch.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which requests meet faults.")] = 0,
    poison: Annotated[
        list[str] | None, typer.Option(help="A request whose input has this text gets 400. Repeatable.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="One more embedding model, NAME:SIZE such as my-model:768. Repeatable.")
    ] = None,
    state: Annotated[
        str | None, typer.Option(help="Folder where files, jobs and batches outlive the server. Left out: they go.")
    ] = None,
    pace: Annotated[str, typer.Option(help="How long jobs and batches stay in each state.")] = "1s",
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON when it is ready.")] = False,
) -> None:
    """Run the sandbox: a server that speaks the OpenAI API, costs nothing and fails on demand."""
    from penstock.cli.console import clear_errors
    from penstock.errors import InputError, UsageError

    if fault and "list" in fault:
        _print_faults()
        return
    with clear_errors(as_json=as_json):
        from penstock.sandbox.server import serve
        from penstock.sandbox.settings import Settings

        try:
            settings = Settings.parse(
                key=key,
                host=host,
                port=port,
                faults=fault or (),
                latency=latency,
                rpm=_count(rpm, "--rpm"),
                tpm=_count(tpm, "--tpm"),
                queue=_count(queue, "--queue"),
                seed=seed,
                poison=poison or (),
                models=model or (),
                state=state,
                pace=pace,
            )
            serve(settings, lambda real_port: _announce(host, real_port, key, as_json))
        except InputError as error:
            raise UsageError(str(error)) from None


def register(app: typer.Typer) -> None:
    """Add the command to `penstock`."""
    app.command("sandbox", epilog=_EPILOG, rich_help_panel=None)(sandbox)
