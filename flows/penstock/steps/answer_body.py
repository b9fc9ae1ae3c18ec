"""Bodies of answers as the structs that they should be."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from penstock.errors import UnusableAnswer

_SHOWN = 80
_Struct = TypeVar("_Struct")


def decoded(decoder: msgspec.json.Decoder[_Struct], body: bytes | memoryview | str, fault: str) -> _Struct:
    """The body as what `decoder` reads.

    Args:
        fault: what to say of JSON of another shape, for example ``not a transcription``.

    Raises:
        UnusableAnswer: it is not JSON, or not of that shape.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise UnusableAnswer(f"{fault}: {error}; it begins {beginning(body)}") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise UnusableAnswer(f"not JSON: {error}; it begins {beginning(body)}") from None
    except RecursionError:
        raise UnusableAnswer(f"the JSON is nested too deeply; it begins {beginning(body)}") from None


def beginning(body: bytes | memoryview | str) -> str:
    """The first 80 bytes or characters for a message."""
    text = body[:_SHOWN] if isinstance(body, str) else bytes(body[:_SHOWN]).decode("utf-8", "replace")
    return repr(text)
