"""The command line: one file per group of commands.

A group is a module with a typer `app` or plain command functions, and is put together in `penstock.cli.app`.
"""

from __future__ import annotations


def main() -> None:
    """Entry point of the `penstock` command."""
    try:
        from penstock.cli.app import main as command
        from penstock.cli.streams import prepare

        prepare()
        command()
    except KeyboardInterrupt:
        # While modules are loaded; a command that has begun tells it itself.
        raise SystemExit(130) from None
