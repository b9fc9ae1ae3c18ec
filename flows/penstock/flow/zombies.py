"""Runs whose process died without a word (killed, out of memory, power cut): Prefect leaves them running for ever.

A worker that lives sees its process die and says so. Where the worker died too, only the missing heartbeats tell: an
automation of Prefect waits for them and marks the run as crashed. It holds the concurrency limit no longer, then, and
the next run goes on from the journals.
"""

from __future__ import annotations

from typing import Any

from penstock.flow.rest import Api, call

NAME = "Penstock: runs whose process died"
HEARTBEAT = 180
"""Seconds between two heartbeats of a run, by Prefect's default (``PREFECT_FLOWS_HEARTBEAT_FREQUENCY``)."""
_MISSED = 3
_MESSAGE = "its process sends no heartbeats any more (killed, out of memory, or its machine is gone)"


def ensure_automation(api: Api, within: float = _MISSED * HEARTBEAT) -> tuple[str, bool]:
    """Make the automation that marks dead runs as crashed, or put it right; it is for all flows of the server.

    Args:
        api: of a server with a scheduler.
        within: seconds without a heartbeat after which a run counts as dead; three heartbeats if left out.

    Returns:
        Its id, and whether it was made now.

    Raises:
        ServerUnavailable: the API does not answer, or refuses.
    """
    wanted = _automation(within)
    asked = {"automations": {"name": {"any_": [NAME]}}}
    found = call(api, "POST", "/automations/filter", asked, timeout=10, patience=30).body
    if found:
        path = f"/automations/{found[0]['id']}"
        call(api, "PUT", path, wanted, timeout=10, patience=30)
        return str(found[0]["id"]), False
    return str(call(api, "POST", "/automations/", wanted, timeout=10, patience=30).body["id"]), True


def _automation(within: float) -> dict[str, Any]:
    ended = [f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "TimedOut", "Cancelled", "Crashed")]
    return {
        "name": NAME,
        "description": "Marks a flow run as crashed when its heartbeats stop. Made by penstock deploy.",
        "enabled": True,
        "trigger": {
            "type": "event",
            "match": {"prefect.resource.id": ["prefect.flow-run.*"]},
            "for_each": ["prefect.resource.id"],
            "posture": "Proactive",
            "after": ["prefect.flow-run.heartbeat"],
            # One of them must come, or the run is dead. A state may have a name of its own, as `Skipped`.
            "expect": ["prefect.flow-run.heartbeat", "prefect.flow-run.Skipped", *ended],
            "threshold": 1,
            "within": within,
        },
        "actions": [{"type": "change-flow-run-state", "state": "CRASHED", "name": "Crashed", "message": _MESSAGE}],
    }
