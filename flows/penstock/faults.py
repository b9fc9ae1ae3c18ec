"""What can go wrong on demand: the list of all faults, and the rules that ask for them in pipelines and on commands.

A rule is ``NAME:SHARE`` (``429:5%``, ``reset:0.01``: that share of the requests, drawn by seed) or ``NAME:xN``
(``500:x3``: the next three requests). The sandbox plays them. The list stands here and not there, because pipelines
name faults too, and `penstock check` knows nothing of the sandbox.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from penstock.errors import InputError
from penstock.values import parse_share


class Kind(StrEnum):
    """Where a fault strikes."""

    REFUSAL = "refusal"
    """An error status instead of the answer."""
    TRANSPORT = "transport"
    """The connection, not the answer."""
    BODY = "body"
    """The bytes of a successful answer."""
    VECTORS = "vectors"
    """The vectors in a successful answer; other answers pass unchanged."""
    CHAT = "chat"
    """The choices of a chat completion, whole or streamed; other answers pass unchanged."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail.

    Attributes:
        kind: where it strikes.
        summary: what the client sees, for the documentation and ``--help``.
    """

    kind: Kind
    summary: str


FAULTS: dict[str, Fault] = {
    "400": Fault(Kind.REFUSAL, "400 `invalid_request_error`"),
    "401": Fault(Kind.REFUSAL, "401 `invalid_api_key`, although the key is good"),
    "403": Fault(Kind.REFUSAL, "403 `unsupported_country_region_territory`"),
    "404": Fault(Kind.REFUSAL, "404 `model_not_found`"),
    "408": Fault(Kind.REFUSAL, "408, the request took too long"),
    "409": Fault(Kind.REFUSAL, "409, the resource is in use"),
    "413": Fault(Kind.REFUSAL, "413, the request is too large"),
    "422": Fault(Kind.REFUSAL, "422, the request cannot be processed"),
    "429": Fault(Kind.REFUSAL, "429 `rate_limit_exceeded` with `retry-after: 1` and `retry-after-ms: 250`"),
    "429-bare": Fault(Kind.REFUSAL, "429 without any of the service's headers, as gateways send it"),
    "quota": Fault(Kind.REFUSAL, "429 `insufficient_quota`: asking again cannot help"),
    "500": Fault(Kind.REFUSAL, "500 `server_error`"),
    "502": Fault(Kind.REFUSAL, "502 with an HTML page, as a proxy sends it"),
    "503": Fault(Kind.REFUSAL, "503, the model is overloaded"),
    "504": Fault(Kind.REFUSAL, "504 with plain text, as a proxy sends it"),
    "529": Fault(Kind.REFUSAL, "529 `overloaded_error`"),
    "reset": Fault(Kind.TRANSPORT, "the connection is reset (TCP RST) without an answer"),
    "close": Fault(Kind.TRANSPORT, "the connection is closed (TCP FIN) without an answer"),
    "cut": Fault(Kind.TRANSPORT, "half of the body that Content-Length promises, then the connection is closed"),
    "hang": Fault(Kind.TRANSPORT, "no answer at all until the client goes away"),
    "slow": Fault(Kind.TRANSPORT, "the good answer, one byte every 10 ms"),
    "html": Fault(Kind.BODY, "200 with an HTML page"),
    "text": Fault(Kind.BODY, "200 with plain text"),
    "badjson": Fault(Kind.BODY, "200 with JSON that breaks off in the middle; Content-Length is right"),
    "bom": Fault(Kind.BODY, "200 with a byte order mark before the JSON"),
    "empty": Fault(Kind.BODY, "200 with an empty body"),
    "floats": Fault(Kind.VECTORS, "lists of floats where base64 was asked for"),
    "shuffled": Fault(Kind.VECTORS, "the vectors in another order; each `index` is right"),
    "one-short": Fault(Kind.VECTORS, "the last vector is missing"),
    "one-over": Fault(Kind.VECTORS, "one vector more than asked for"),
    "bad-index": Fault(Kind.VECTORS, "one `index` stands there twice (or is out of range when there is one vector)"),
    "wrong-dim": Fault(Kind.VECTORS, "one vector is a number too short"),
    "nan": Fault(Kind.VECTORS, "one vector holds a NaN"),
    "inf": Fault(Kind.VECTORS, "one vector holds an infinity"),
    "zeros": Fault(Kind.VECTORS, "one vector is all zero"),
    "no-choices": Fault(Kind.CHAT, "a completion with `choices: []`"),
    "refusal": Fault(Kind.CHAT, "`content: null` and a `refusal`"),
    "filtered": Fault(Kind.CHAT, "`finish_reason: content_filter`, and half of the content"),
    "off-schema": Fault(Kind.CHAT, "prose where JSON was asked for"),
    "stream-cut": Fault(Kind.CHAT, "a stream that ends in the middle, without `finish_reason` and `[DONE]`"),
    "stream-error": Fault(Kind.CHAT, "a stream with an `error` object as an event in the middle, and then its end"),
    "stream-odd": Fault(Kind.CHAT, "a good stream with CRLF, comments, a BOM and pieces that end inside characters"),
}


def check_name(name: str) -> str:
    """`name`, when there is such a fault.

    Raises:
        InputError: there is none; the message lists all.
    """
    if name in FAULTS:
        return name
    close = difflib.get_close_matches(name, FAULTS, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise InputError(f"there is no fault named {name!r}.{hint} Allowed are: {', '.join(FAULTS)}")


@dataclass(frozen=True, slots=True)
class FaultRule:
    """How often one fault is played: a share of all requests, or the next few.

    Attributes:
        name: one of `FAULTS`.
        share: 0 to 1.
        times: how many of the next requests; 0 for a rule with a share.
        text: as the user wrote it.
    """

    name: str
    share: float
    times: int
    text: str

    @classmethod
    def parse(cls, text: str) -> FaultRule:
        """Read ``429:5%`` or ``500:x3``.

        Raises:
            InputError: no such fault, or neither a share nor a number of times.
        """
        name, _, amount = text.strip().partition(":")
        check_name(name)
        if match := re.fullmatch(r"x([0-9]{1,6})", amount.strip()):
            return cls(name, 0.0, int(match[1]), text)
        try:
            # Without a colon there is nothing to parse, and the empty text is not a share.
            return cls(name, parse_share(amount), 0, text)
        except ValueError:
            raise InputError(
                f"{text!r} does not say how often: write {name}:5% for a share of the requests, "
                f"or {name}:x3 for the next three"
            ) from None


def parse_faults(texts: Sequence[str]) -> tuple[FaultRule, ...]:
    """Fault rules; their shares together must not be over 100 %.

    Raises:
        InputError: one of them is wrong, or they are too many.
    """
    rules = tuple(FaultRule.parse(text) for text in texts)
    total = sum(rule.share for rule in rules)
    if total > 1 + 1e-9:
        raise InputError(f"the shares of the faults add up to {total:.0%}; they must stay within 100%")
    return rules
