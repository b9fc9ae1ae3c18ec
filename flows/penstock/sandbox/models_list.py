"""``/v1/models``: list, retrieve, delete. Source: API reference, "Models".

Each model has the field ``description`` beside the service's own fields and says what the sandbox's stand-in is.
"""

from __future__ import annotations

from dataclasses import asdict

import msgspec

from penstock.sandbox.contract import Answer, Call, ModelCard, Operation, Resource, Work, json_work
from penstock.sandbox.errors import ApiError
from penstock.sandbox.tuning_life import models


def _list(call: Call) -> Work:
    cards = [_show(card) for card in call.sandbox.cards.values()]
    return json_work({"object": "list", "data": cards})


def _retrieve(call: Call) -> Work:
    return json_work(_show(_find(call)))


def _delete(call: Call) -> Work:
    card = _find(call)
    if not card.id.startswith("ft:"):
        raise ApiError(
            403,
            f"The model '{card.id}' is a base model and cannot be deleted; only fine-tuned models can.",
            param="model",
            code="model_not_deletable",
        )

    async def answer() -> Answer:
        call.sandbox.cards.pop(card.id, None)
        models(call.sandbox).remove(card.id)
        return Answer(msgspec.json.encode({"id": card.id, "object": "model", "deleted": True}))

    return Work(answer)


def _find(call: Call) -> ModelCard:
    name = call.path["model"]
    card = call.sandbox.cards.get(name)
    if card is None:
        raise ApiError(404, f"The model '{name}' does not exist", param="model", code="model_not_found")
    return card


def _show(card: ModelCard) -> dict[str, object]:
    shown = asdict(card)
    return {"id": shown.pop("id"), "object": "model", **shown}


RESOURCE = Resource(
    operations=(
        Operation("GET", "/v1/models", _list, metered=False),
        Operation("GET", "/v1/models/{model:path}", _retrieve, metered=False),
        Operation("DELETE", "/v1/models/{model:path}", _delete, metered=False),
    )
)
