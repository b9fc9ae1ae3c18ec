"""Where requests go and how they are sent: plain settings, without I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from penstock.secrets import Secret


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be in flight and per minute. None means: found from the server's answers.

    Attributes:
        concurrency: requests in flight at most; None starts low and adapts.
        requests_per_minute: requests admitted per minute.
        tokens_per_minute: tokens admitted per minute, prompt and completion.
        shares: processes that send under the same limits; each keeps to its even share of all of them.
        shared: whether the two rates are bought from a counter for several machines, in the place of even shares.
    """

    concurrency: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    shares: int = 1
    shared: bool = False


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is tried in all, and the longest wait between two tries in seconds."""

    attempts: int = 8
    max_wait: float = 120.0


_LONGEST_STREAM = 3600.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, of silence, and for the whole request."""

    connect: float = 10.0
    read: float = 60.0
    total: float = 120.0

    def for_answers(self, *, streams: bool, at_once: bool) -> Timeouts:
        """These for one kind of answer.

        One that comes piece by piece may take an hour, as long as its pieces come; while a model thinks about one that
        comes whole, the server is silent and well.
        """
        if streams:
            return replace(self, total=max(self.total, _LONGEST_STREAM))
        return self if at_once else replace(self, read=max(self.read, self.total))


@dataclass(frozen=True, slots=True)
class Provider:
    """One OpenAI-style server as one account sees it.

    Attributes:
        name: as in the pipeline file, for messages.
        base_url: for example ``https://api.openai.com/v1``; where it names only a server, ``/v1`` is meant.
        api_key: None for servers that need none.
    """

    name: str
    base_url: str
    api_key: Secret | None = None
    organization: str | None = None
    project: str | None = None
    limits: Limits = field(default_factory=Limits)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeouts: Timeouts = field(default_factory=Timeouts)
