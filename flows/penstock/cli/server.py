"""``penstock server``: the local Prefect API server that runs share."""

from __future__ import annotations

import time
from typing import Any

import typer

from penstock.cli.console import clear_errors, print_json, say

server = typer.Typer(
    no_args_is_help=True,
    help="The local Prefect API server that runs share.\n\n"
    "A run starts it when no Prefect API is configured (PREFECT_API_URL or a Prefect profile), and it ends by itself "
    "ten minutes after its last client (PENSTOCK_SERVER_IDLE, or 0 to end it with the run). It has neither UI nor "
    "scheduler: for those, `prefect server start` or Prefect Cloud. It sends no telemetry "
    "(PREFECT_SERVER_ANALYTICS_ENABLED=false and DO_NOT_TRACK=1, unless you set them otherwise) and sees no key.",
)
_JSON = typer.Option(False, "--json", help="JSON for programs.")


def register(app: typer.Typer) -> None:
    """Put the group into the command line."""
    app.add_typer(server, name="server")


@server.command(
    epilog="Examples:  penstock server status  |  penstock server status --json | jq -r .url",
)
def status(as_json: bool = _JSON) -> None:
    """Show whether the server runs: address, process, age, version, idle limit, log."""
    with clear_errors(as_json=as_json):
        from penstock.flow.embedded import status as read

        found = read()
        facts: dict[str, Any] = {"state": found.state}
        if found.record:
            facts |= {
                "url": found.record.url,
                "pid": found.record.pid,
                "uptime_seconds": round(time.time() - found.record.started, 1),
                "prefect": found.record.prefect,
                "penstock": found.record.penstock,
            }
        facts |= {
            "idle_limit_seconds": None if found.idle == float("inf") else found.idle,
            "log": str(found.folder.log),
            "database": str(found.folder.prefect_home / "prefect.db"),
        }
    if as_json:
        print_json(facts)
    else:
        _show(facts)


@server.command(
    epilog="Examples:  penstock server start  |  penstock server start --idle 8h  |  "
    "penstock server start --idle never --port 4201",
)
def start(
    idle: str = typer.Option("", help="End it after so long without a client: 30m, 8h, never. Default: 10m."),
    port: int = typer.Option(0, min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one."),
    as_json: bool = _JSON,
) -> None:
    """Start the server and leave it running, or change the idle limit of the running one."""
    with clear_errors(as_json=as_json):
        from penstock.flow.embedded import start as start_server
        from penstock.flow.server_folder import idle_limit

        record = start_server(idle=idle_limit(idle or None), port=port)
    if as_json:
        print_json({"url": record.url, "pid": record.pid})
    else:
        say(f"the local Prefect server answers at {record.url} (process {record.pid})")
        say(f"look at it with Prefect's own command: PREFECT_API_URL={record.url} prefect flow-run ls")


@server.command(epilog="Example:  penstock server stop")
def stop(as_json: bool = _JSON) -> None:
    """End the server; a run that is using it goes on, and starts it again."""
    with clear_errors(as_json=as_json):
        from penstock.flow.embedded import stop as stop_server

        was_running = stop_server()
    if as_json:
        print_json({"stopped": was_running})
    else:
        say("the local Prefect server has ended" if was_running else "no local Prefect server was running")


@server.command(epilog="Example:  penstock server logs -n 200")
def logs(lines: int = typer.Option(50, "--lines", "-n", min=1, help="How many of the last lines.")) -> None:
    """Print the end of the server's log."""
    with clear_errors():
        from penstock.flow.server_folder import ServerFolder

        folder = ServerFolder.of_user()
        say(folder.log_tail(lines) or f"{folder.log} is empty")


def _show(facts: dict[str, Any]) -> None:
    from penstock.values import format_duration

    limit = facts["idle_limit_seconds"]
    rows = {"state": facts["state"]}
    if "url" in facts:
        rows |= {
            "address": facts["url"],
            "process": str(facts["pid"]),
            "running for": format_duration(facts["uptime_seconds"]),
            "versions": f"Prefect {facts['prefect']}, Penstock {facts['penstock']}",
        }
    rows |= {
        "ends after": "never" if limit is None else f"{format_duration(limit)} without a client",
        "log": facts["log"],
        "database": facts["database"],
    }
    for name, value in rows.items():
        say(f"{name:<12} {value}")
