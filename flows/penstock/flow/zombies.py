"""Runs whose process died without a word (killed, out of memory, power cut): Prefect leaves them running for ever.

A worker that lives sees its process die and says so. Where the worker died too, only the missing heartbeats tell.
A dead run would keep the place of its deployment, of which there is one, and no later run would ever begin: the server
frees it by itself only if it was not started again meanwhile. So each deployment has an automation of Prefect that
waits for heartbeats and marks its dead runs as crashed. The next run goes on from the journals.
"""

from __future__ import annotations

from typing import Any

from penstock.flow.rest import Api, ServerRefused, call

HEARTBEAT = 180
"""Seconds between two heartbeats of a run, by Prefect's default (``PREFECT_FLOWS_HEARTBEAT_FREQUENCY``)."""
_MISSED = 3
_MESSAGE = "its process sends no heartbeats any more (killed, out of memory, or its machine is gone)"
_ENDED = ("Completed", "Skipped", "Failed", "TimedOut", "Cancelled", "Crashed")


def ensure_automation(api: Api, deployment_id: str, name: str, within: float = _MISSED * HEARTBEAT) -> str | None:
    """Make the automation that marks dead runs of a deployment as crashed, or put it right.

    Args:
        api: of a server with a scheduler.
        deployment_id: whose runs it is for.
        name: of the deployment, with its flow's: ``nightly/deployed``.
        within: seconds without a heartbeat after which a run counts as dead; three heartbeats if left out.

    Returns:
        Its id; None where the server knows no automations.

    Raises:
        ServerUnavailable: the API does not answer, or refuses.
    """
    wanted = _automation(deployment_id, name, within)
    asked = {"automations": {"name": {"any_": [wanted["name"]]}}}
    try:
        found = call(api, "POST", "/automations/filter", asked, timeout=10, patience=30).body
    except ServerRefused as error:
        if error.status == 404:
            return None
        raise
    if not found:
        return str(call(api, "POST", "/automations/", wanted, timeout=10, patience=30).body["id"])
    had = found[0]["trigger"]
    if (had["match_related"], had["within"]) != (wanted["trigger"]["match_related"], within):
        del wanted["owner_resource"]
        call(api, "PUT", f"/automations/{found[0]['id']}", wanted, timeout=10, patience=30)
    return str(found[0]["id"])


def _automation(deployment_id: str, name: str, within: float) -> dict[str, Any]:
    resource = f"prefect.deployment.{deployment_id}"
    return {
        "name": f"Penstock: runs of {name} whose process died",
        "description": "Marks a flow run as crashed when its heartbeats stop. Made by penstock deploy.",
        "enabled": True,
        "owner_resource": resource,
        "trigger": {
            "type": "event",
            "match": {"prefect.resource.id": ["prefect.flow-run.*"]},
            "match_related": {"prefect.resource.role": ["deployment"], "prefect.resource.id": [resource]},
            "for_each": ["prefect.resource.id"],
            "posture": "Proactive",
            "after": ["prefect.flow-run.heartbeat"],
            # One of them must come, or the run is dead.
            "expect": ["prefect.flow-run.heartbeat", *(f"prefect.flow-run.{state}" for state in _ENDED)],
            "threshold": 1,
            "within": within,
        },
        "actions": [{"type": "change-flow-run-state", "state": "CRASHED", "name": "Crashed", "message": _MESSAGE}],
    }
