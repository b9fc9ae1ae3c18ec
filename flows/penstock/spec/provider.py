"""The `provider:` key: where requests go, with which key, how fast, how patiently, at what price."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from penstock.errors import InputError
from penstock.faults import FAULTS, FaultRule, parse_faults
from penstock.secrets import ENVIRONMENT, PREFECT_SECRET, Secret, reference_to
from penstock.spec.price_settings import PriceSettings
from penstock.values import Count, Duration, FilePath, parse_duration

if TYPE_CHECKING:
    from penstock.api.provider import Limits, Provider

SANDBOX_KEY = "PENSTOCK_SANDBOX_KEY"
"""The variable that holds the sandbox's key; whoever starts the sandbox sets it."""
OPENAI_KEY = "${OPENAI_API_KEY}"
_OPENAI_HOST = "api.openai.com"
_CONFIG = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def is_key_reference(text: str) -> bool:
    """Whether `text` names a place where a key is, ``${NAME}`` or ``${prefect-secret:name}``, and nothing else."""
    return reference_to(text) is not None


def _key_reference(text: str) -> str:
    if text.startswith("${prefect-secret:") and not is_key_reference(text):
        raise ValueError("a Secret block's name holds a-z, 0-9 and - only: write ${prefect-secret:openai-key}")
    if not is_key_reference(text):
        raise ValueError(
            f"keys live in the environment: write {OPENAI_KEY}, or ${{prefect-secret:openai-key}} for a Secret block"
        )
    return text


def _server_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # Not quoted: what stands in the place of a port may be a password.
        raise ValueError("not a web address; write it like https://api.openai.com/v1") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("a web address must not hold a user or a password: put the key into the environment (api_key)")
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError("not a web address; write it like https://api.openai.com/v1")
    if parts.query or parts.fragment or re.search(r"[\s\x00-\x1f]", text):
        raise ValueError("the address must end with the path, such as https://api.openai.com/v1")
    return text.rstrip("/")


def _latency(text: str) -> str:
    low, between, high = text.partition("..")
    if between and parse_duration(low) > parse_duration(high):
        raise ValueError("the first duration must be the shorter one: 150ms..250ms")
    parse_duration(low)
    return text


def _fault(text: str) -> str:
    try:
        FaultRule.parse(text)
    except InputError as error:
        raise ValueError(str(error)) from None
    return text


KeyReference = Annotated[
    str,
    AfterValidator(_key_reference),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\$\{([A-Za-z_][A-Za-z0-9_]*|prefect-secret:[a-z0-9][a-z0-9-]*)\}$",
            "examples": [OPENAI_KEY],
        }
    ),
]
ServerAddress = Annotated[str, AfterValidator(_server_address)]
Fault = Annotated[
    str,
    AfterValidator(_fault),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": rf"^\s*({'|'.join(FAULTS)}):\s*(x[0-9]{{1,6}}|[0-9]+(\.[0-9]+)?\s*%?)\s*$",
            "examples": ["429:5%", "500:x3"],
        }
    ),
]


class LimitSettings(BaseModel):
    """Limits; what is left out is found from the server's answers."""

    model_config = _CONFIG

    concurrency: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Requests in flight at most; left out, it starts low and adapts.",
        examples=[64],
    )
    requests_per_minute: Count | None = Field(
        default=None, ge=1, description="Requests sent per minute at most.", examples=[5000]
    )
    tokens_per_minute: Count | None = Field(
        default=None,
        ge=1,
        description="Tokens per minute at most, those of the request and of the answer together.",
        examples=["2_000_000", "2M"],
    )
    shared: Literal["prefect"] | None = Field(
        default=None,
        description=(
            "`prefect`: the two rates are those of all runs on all machines with the same key and model, counted by "
            "the Prefect server that they have in common. Left out, each run has them for itself, and its worker "
            "processes have even shares."
        ),
        examples=["prefect"],
    )

    @model_validator(mode="after")
    def _shares_something(self) -> LimitSettings:
        if self.shared and self.requests_per_minute is None and self.tokens_per_minute is None:
            raise ValueError("`shared` needs the rates that are shared: requests_per_minute, tokens_per_minute or both")
        return self

    @property
    def as_limits(self) -> Limits:
        """The limits as the engine sees them."""
        from penstock.api.provider import Limits

        return Limits(
            self.concurrency, self.requests_per_minute, self.tokens_per_minute, shared=self.shared is not None
        )


class RetrySettings(BaseModel):
    """How often a request is tried."""

    model_config = _CONFIG

    attempts: int = Field(
        default=8, ge=1, le=100, description="How often a request is tried in all; 1 means never again.", examples=[8]
    )
    max_wait: Duration = Field(
        default=120.0,
        description=(
            "The longest wait between two tries where the server does not say how long; what it says is kept, "
            "up to two minutes."
        ),
    )


class TimeoutSettings(BaseModel):
    """How long a request may take."""

    model_config = _CONFIG

    connect: Duration = Field(default=10.0, gt=0, description="How long connecting may take.", examples=["10s"])
    read: Duration = Field(
        default=60.0,
        gt=0,
        description="How long it may be silent, within an answer that it streams or before vectors and verdicts; "
        "a whole answer of a model that writes may take `total`.",
        examples=["60s"],
    )
    total: Duration = Field(default=120.0, gt=0, description="How long a request may take in all.", examples=["120s"])


class _Common(BaseModel):
    model_config = _CONFIG

    limits: LimitSettings = Field(
        default_factory=LimitSettings,
        description="What may be in flight and per minute.",
        examples=[{"concurrency": 64, "requests_per_minute": 5000, "tokens_per_minute": "2M"}],
    )
    retry: RetrySettings = Field(
        default_factory=RetrySettings,
        description="How often a request is tried, and how long is waited between.",
        examples=[{"attempts": 8, "max_wait": "120s"}],
    )
    timeout: TimeoutSettings = Field(
        default_factory=TimeoutSettings,
        description="Deadlines of a request: to connect, of silence, and in all.",
        examples=[{"connect": "10s", "total": "120s"}],
    )
    prices: dict[str, PriceSettings] = Field(
        default_factory=dict,
        description="US dollars for a million tokens, by model, in place of the published prices.",
        examples=[{"my-model": {"input": 0.02, "output": 0.06}}],
    )

    def _policies(self) -> dict[str, Any]:
        from penstock.api.provider import RetryPolicy, Timeouts

        return {
            "limits": self.limits.as_limits,
            "retry": RetryPolicy(**self.retry.model_dump()),
            "timeouts": Timeouts(**self.timeout.model_dump()),
        }


class SandboxSettings(_Common):
    """The embedded server: started for the run, without a key and without cost, with faults on demand."""

    uses: Literal["sandbox"] = Field(default="sandbox", description="The embedded server.")
    faults: list[Fault] = Field(
        default_factory=list,
        description=(
            "What goes wrong and how often, to rehearse it: a fault's name with a share of the requests (429:5%) or "
            "with how many of the next ones (500:x3). `penstock sandbox --fault list` names the faults."
        ),
        examples=[["429:5%", "reset:1%"]],
    )
    latency: Annotated[str, AfterValidator(_latency)] | None = Field(
        default=None,
        description="How long each answer takes: a duration or a range.",
        examples=["50ms", "150ms..250ms"],
    )
    seed: int | None = Field(default=None, ge=0, description="Makes the faults the same in each run.", examples=[7])
    state: FilePath | None = Field(
        default=None,
        min_length=1,
        description=(
            "The folder where files, jobs and trained models outlive the run. For pipelines that upload, the folder "
            "`sandbox` in their state if left out; for others they end with the run."
        ),
        examples=[".penstock/prepare-support-model/sandbox"],
    )

    @field_validator("faults")
    @classmethod
    def _within_all_requests(cls, faults: list[str]) -> list[str]:
        try:
            parse_faults(faults)
        except InputError as error:
            raise ValueError(str(error)) from None
        return faults

    @property
    def identity(self) -> str:
        """What makes its answers other than those of another provider."""
        return "sandbox"

    @property
    def key_variable(self) -> str | None:
        """The variable that the user must set: none."""
        return None

    @property
    def key_block(self) -> str | None:
        """Prefect's Secret block that holds the key: none."""
        return None

    def to_provider(self, name: str, base_url: str | None = None) -> Provider:
        """The server as the engine sees it.

        Raises:
            ValueError: `base_url` is missing; the sandbox has no address before it is started.
        """
        from penstock.api.provider import Provider

        if base_url is None:
            raise ValueError("the sandbox has no address before it is started")
        return Provider(name=name, base_url=base_url.rstrip("/"), api_key=Secret(SANDBOX_KEY), **self._policies())


class OpenAISettings(_Common):
    """Any server that speaks the OpenAI API."""

    uses: Literal["openai"] = Field(default="openai", description="A server that speaks the OpenAI API.")
    base_url: ServerAddress = Field(
        default="https://api.openai.com/v1",
        description="The server's address with the version. OPENAI_BASE_URL if left out, then OpenAI itself.",
        examples=["https://api.openai.com/v1", "http://localhost:11434/v1"],
    )
    api_key: KeyReference | None = Field(
        default=None,
        description=(
            "The environment variable that holds the key. ${OPENAI_API_KEY} if left out, or no key at all "
            "where `base_url` is given. Or the Secret block of Prefect that holds it. The key itself never stands in a "
            "file."
        ),
        examples=[OPENAI_KEY, "${prefect-secret:openai-key}"],
    )
    organization: str | None = Field(
        default=None, description="The organization that pays; OPENAI_ORG_ID if left out.", examples=["org-123"]
    )
    project: str | None = Field(
        default=None, description="The project that pays; OPENAI_PROJECT_ID if left out.", examples=["proj_123"]
    )

    @property
    def identity(self) -> str:
        """What makes its answers other than those of another provider: its address."""
        return self.base_url.rstrip("/")

    @property
    def key_variable(self) -> str | None:
        """The variable that the user must set; None when the server needs no key, or Prefect has it."""
        secret = reference_to(self.api_key)
        return secret.name if secret is not None and secret.place == ENVIRONMENT else None

    @property
    def key_block(self) -> str | None:
        """Prefect's Secret block that holds the key, by name."""
        secret = reference_to(self.api_key)
        return secret.name if secret is not None and secret.place == PREFECT_SECRET else None

    def to_provider(self, name: str, base_url: str | None = None) -> Provider:
        """The server as the engine sees it; `base_url` replaces the one in the file."""
        from penstock.api.provider import Provider

        return Provider(
            name=name,
            base_url=(base_url or self.base_url).rstrip("/"),
            api_key=reference_to(self.api_key),
            organization=self.organization or None,
            project=self.project or None,
            **self._policies(),
        )


ProviderSettings = SandboxSettings | OpenAISettings
PROVIDERS: dict[str, type[SandboxSettings] | type[OpenAISettings]] = {
    "sandbox": SandboxSettings,
    "openai": OpenAISettings,
}
"""The words that `provider:` takes."""


def with_defaults(data: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """A provider's mapping with what the environment says where the file says nothing.

    OpenAI's key goes only to the default address: where the file names another server, it names the key too.
    """
    if data.get("uses", "openai") != "openai":
        return dict(data)
    found = {
        "base_url": environ.get("OPENAI_BASE_URL") or OpenAISettings.model_fields["base_url"].default,
        "api_key": OPENAI_KEY,
        "organization": environ.get("OPENAI_ORG_ID") or None,
        "project": environ.get("OPENAI_PROJECT_ID") or None,
    }
    if "base_url" in data:
        own = urlsplit(data["base_url"]).hostname == _OPENAI_HOST if _is_address(data["base_url"]) else False
        found = {"api_key": OPENAI_KEY} if own else {}
    return {"uses": "openai", **found, **data}


def _is_address(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(urlsplit(value).hostname)
    except ValueError:
        return False
