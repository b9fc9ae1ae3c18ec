"""The chat models that the sandbox has: names, limits and vocabularies, as the service's model pages give them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from penstock.sandbox import errors
from penstock.sandbox.contract import ModelCard
from penstock.sandbox.errors import ApiError
from penstock.sandbox.tokens import CL100K, O200K

DESCRIPTION = "sandbox: rules, not a language model"


@dataclass(frozen=True, slots=True)
class ChatModel:
    """One model.

    Attributes:
        id: the name that requests use.
        answered_as: the dated name that answers use.
        created: seconds since 1970.
        context: tokens of prompt and answer together.
        most_output: tokens of an answer.
        vocabulary: what its tokens are counted with.
        reasoning: whether it thinks first, in tokens that are paid for and not shown.
        sees: whether it takes images.
        schemas: whether it takes ``response_format`` with a JSON Schema.
    """

    id: str
    answered_as: str
    created: int
    context: int
    most_output: int
    vocabulary: str = O200K
    reasoning: bool = False
    sees: bool = True
    schemas: bool = True


def _family(
    name: str,
    dates: dict[str, int],
    limits: tuple[int, int],
    *,
    vocabulary: str = O200K,
    reasoning: bool = False,
    sees: bool = True,
    schemas: bool = True,
) -> list[ChatModel]:
    """A name and its snapshots; the first of them is the one that the name stands for."""
    found = []
    default = next(iter(dates))
    for suffix in ("", *dates):
        full = f"{name}-{suffix}" if suffix else name
        snapshot = suffix or default
        context, most = limits
        if full == "gpt-4o-2024-05-13":
            most = 4_096
        found.append(
            ChatModel(
                full,
                f"{name}-{snapshot}",
                dates[snapshot],
                context,
                most,
                vocabulary,
                reasoning,
                sees,
                schemas and full != "gpt-4o-2024-05-13",
            )
        )
    return found


_GPT_4O = {"2024-08-06": 1722814719, "2024-05-13": 1715368132, "2024-11-20": 1739331543}
_MODELS = (
    *_family("gpt-4o", _GPT_4O, (128_000, 16_384)),
    *_family("gpt-4o-mini", {"2024-07-18": 1721172717}, (128_000, 16_384)),
    *_family("gpt-4.1", {"2025-04-14": 1744315746}, (1_047_576, 32_768)),
    *_family("gpt-4.1-mini", {"2025-04-14": 1744317547}, (1_047_576, 32_768)),
    *_family("gpt-4.1-nano", {"2025-04-14": 1744321025}, (1_047_576, 32_768)),
    *_family("o1", {"2024-12-17": 1734326976}, (200_000, 100_000), reasoning=True),
    *_family("o1-mini", {"2024-09-12": 1725648979}, (128_000, 65_536), reasoning=True, sees=False, schemas=False),
    *_family("o3-mini", {"2025-01-31": 1738010200}, (200_000, 100_000), reasoning=True, sees=False),
    *_family("o4-mini", {"2025-04-16": 1744133506}, (200_000, 100_000), reasoning=True),
    *_family("gpt-5", {"2025-08-07": 1754073306}, (400_000, 128_000), reasoning=True),
    *_family("gpt-5-mini", {"2025-08-07": 1754425928}, (400_000, 128_000), reasoning=True),
    *_family("gpt-5-nano", {"2025-08-07": 1754426384}, (400_000, 128_000), reasoning=True),
    *_family("gpt-4-turbo", {"2024-04-09": 1712601677}, (128_000, 4_096), vocabulary=CL100K, schemas=False),
    *_family("gpt-4", {"0613": 1686588896}, (8_192, 8_192), vocabulary=CL100K, sees=False, schemas=False),
    *_family("gpt-3.5-turbo", {"0125": 1706048358, "1106": 1698959748}, (16_385, 4_096), vocabulary=CL100K,
             sees=False, schemas=False),
)  # fmt: skip
CHAT_MODELS = {model.id: model for model in _MODELS}


def find_chat_model(name: str, known: Container[str]) -> ChatModel:
    """The model of this name; a fine-tuned one (``ft:BASE:…``) that is among `known` is like its base.

    Raises:
        ApiError: 404: there is no such model, or it is not for chat.
    """
    if name not in known:
        raise errors.model_not_found(name)
    if name.startswith("ft:") and (base := CHAT_MODELS.get(name.split(":")[1])):
        return ChatModel(
            name, name, base.created, base.context, base.most_output, base.vocabulary, base.reasoning, base.sees,
            base.schemas,
        )  # fmt: skip
    model = CHAT_MODELS.get(name)
    if model is None:
        raise ApiError(
            404,
            "This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you mean to use "
            "v1/completions?",
            param="model",
        )
    return model


def chat_cards() -> list[ModelCard]:
    """The models as ``GET /v1/models`` shows them."""
    return [ModelCard(model.id, model.created, "system", DESCRIPTION) for model in _MODELS]
