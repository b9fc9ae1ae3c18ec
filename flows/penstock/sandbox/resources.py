"""The resources of the API that the sandbox has. A new one is a module and a line here."""

from __future__ import annotations

from penstock.sandbox import (
    assistants,
    batches,
    chat,
    embeddings,
    files,
    finetuning,
    images,
    models_list,
    moderations,
    speech,
    transcriptions,
)
from penstock.sandbox.contract import Resource

RESOURCES: tuple[Resource, ...] = (
    assistants.RESOURCE,
    batches.RESOURCE,
    chat.RESOURCE,
    embeddings.RESOURCE,
    files.RESOURCE,
    finetuning.RESOURCE,
    images.RESOURCE,
    models_list.RESOURCE,
    moderations.RESOURCE,
    speech.RESOURCE,
    transcriptions.RESOURCE,
)
