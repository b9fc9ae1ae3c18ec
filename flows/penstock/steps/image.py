"""`image`: descriptions to pictures by the images endpoint (API reference, "Create image")."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec
from pydantic import Field, ValidationInfo, field_validator

from penstock.errors import UnusableAnswer
from penstock.expressions import Template
from penstock.items import Answer, Cause, Fault, Packing, Usage
from penstock.steps.answer_body import beginning, decoded
from penstock.steps.base import ApiStep, Columns, SavedFile
from penstock.steps.file_settings import AnswerFolder, FileName
from penstock.steps.naming import prefixed, with_columns
from penstock.steps.rendering import rendered, template_fault

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class _Family:
    """What the models of a family take (API reference, "Create image").

    Attributes:
        sizes, qualities: the first one is the service's default.
        most: pictures of one request.
        by_name: whether the price goes by quality and size, which stand in the model's name then.
    """

    sizes: tuple[str, ...]
    qualities: tuple[str, ...]
    styles: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("png",)
    most: int = 10
    by_name: bool = True

    def allowed(self, setting: str) -> tuple[str, ...]:
        """What the family takes for a setting; nothing where it does not know it."""
        by_setting = {"size": self.sizes, "quality": self.qualities, "style": self.styles, "format": self.formats}
        return by_setting[setting]


_GPT_IMAGE = _Family(
    ("auto", "1024x1024", "1536x1024", "1024x1536"),
    ("auto", "low", "medium", "high"),
    formats=("png", "jpeg", "webp"),
    by_name=False,
)
_FAMILIES = {
    "dall-e-3": _Family(("1024x1024", "1792x1024", "1024x1792"), ("standard", "hd"), ("vivid", "natural"), most=1),
    "dall-e-2": _Family(("1024x1024", "512x512", "256x256"), ("standard",)),
    "gpt-image-1": _GPT_IMAGE,
    "gpt-image-1-mini": _GPT_IMAGE,
}
"""By model, those that are known; of another model anything is sent as it is written."""
_ANSWER_BYTES = 4_000_000
_MOST_TOKENS = 1_000_000_000
_MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff", "webp": b"RIFF"}


class _Image(msgspec.Struct):
    # msgspec decodes base64 while it parses.
    b64_json: bytes | None = None
    url: str | None = None
    revised_prompt: str | None = None


class _Counts(msgspec.Struct):
    input_tokens: float | None = None
    output_tokens: float | None = None


class _Response(msgspec.Struct):
    data: list[_Image]
    usage: _Counts | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Response)


class Image(ApiStep):
    """Has pictures drawn into files, one or several of each row."""

    kind: ClassVar[str] = "image"
    summary: ClassVar[str] = "Turns a description per row into a picture file."
    endpoint: ClassVar[str] = "/images/generations"
    costs_alike: ClassVar[bool] = True
    beside_wire: ClassVar[frozenset[str]] = frozenset({"prompt", "folder", "file_name", "output"})
    example: ClassVar[str] = (
        "uses: image\n"
        'prompt: "A plain photograph of {{ product }} on white."\n'
        "model: dall-e-3\n"
        "size: 1024x1024\n"
        "folder: ../out/pictures\n"
        'file_name: "{{ review_id }}"\n'
    )

    uses: Literal["image"] = Field(description="The kind of step.")
    model: str = Field(default="dall-e-3", description="The model that draws.", examples=["dall-e-3", "gpt-image-1"])
    prompt: Template = Field(
        min_length=1,
        description="Template of the description; dall-e-3 takes 4,000 characters, dall-e-2 1,000.",
        examples=["A plain photograph of {{ product }} on white."],
    )
    size: str | None = Field(
        default=None,
        pattern=r"^([0-9]+x[0-9]+|auto)$",
        description="Width and height in pixels; the model's own default if left out.",
        examples=["1024x1024", "1792x1024"],
    )
    quality: str | None = Field(
        default=None,
        min_length=1,
        description="dall-e-3: standard or hd; gpt-image models: low, medium or high.",
        examples=["hd"],
    )
    style: Literal["vivid", "natural"] | None = Field(
        default=None, description="Only for dall-e-3: vivid (its default) or natural."
    )
    n: int = Field(
        default=1,
        ge=1,
        le=10,
        description="Pictures of each row; dall-e-3 draws one. Of several, the columns are numbered: path_1, path_2, …",
    )
    format: Literal["png", "jpeg", "webp"] = Field(
        default="png", description="Format of the files; the dall-e models draw png only."
    )
    folder: AnswerFolder = Field(
        examples=["../out/pictures"],
    )
    file_name: FileName = Field(
        examples=["{{ product_id }}"],
    )
    output: str = Field(
        default="",
        description="Beginning of the new columns' names: with `picture` they are `picture_path`, `picture_bytes`, …",
        examples=["picture"],
    )

    @field_validator("size", "quality", "style", "n", "format")
    @classmethod
    def _known_to_the_model(cls, value: Any, info: ValidationInfo) -> Any:
        model = info.data.get("model")
        family = _FAMILIES.get(str(model))
        if family is None or value is None or info.field_name is None:
            return value
        if info.field_name == "n":
            if value > family.most:
                raise ValueError(f"{model} draws one picture at a time; write 1, or take another model")
            return value
        allowed = family.allowed(info.field_name)
        if not allowed:
            raise ValueError(f"{model} takes none; leave it out, or take dall-e-3")
        if value not in allowed:
            raise ValueError(f"{model} takes {' or '.join(allowed)}")
        return value

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The columns before, and path, size and prompt as it was drawn, of each picture."""
        kinds = {"path": "String", "bytes": "Int64", "revised_prompt": "String"}
        added = {self._column(name, mark): kind for mark in self._marks() for name, kind in kinds.items()}
        return with_columns(given, added, "picture")

    def _marks(self) -> Iterator[str]:
        """Of each picture what its columns' names end with."""
        yield from ("" if self.n == 1 else f"_{number}" for number in range(1, self.n + 1))

    @property
    def _named_by_price(self) -> bool:
        family = _FAMILIES.get(self.model)
        return family is not None and family.by_name

    def _column(self, name: str, mark: str) -> str:
        return prefixed(self.output, name) + mark

    @property
    def packing(self) -> Packing:
        """One description per request."""
        return Packing(max_items=1, answer_bytes=_ANSWER_BYTES * self.n)

    @property
    def answer_tokens(self) -> int | None:
        """None of the dall-e models."""
        return 0 if self._named_by_price else None

    @property
    def saved(self) -> Sequence[SavedFile]:
        """The pictures."""
        return tuple(
            SavedFile(
                self._column("picture", mark), self.folder, self.file_name + mark.replace("_", "-"),
                f".{'jpg' if self.format == 'jpeg' else self.format}",
                self._column("path", mark), self._column("bytes", mark),
            )
            for mark in self._marks()
        )  # fmt: skip

    def payloads(self, frame: pl.DataFrame) -> pl.Series:
        """The rendered descriptions, null where the template fails."""
        return rendered(self.prompt, frame)

    def payload_error(self, row: Mapping[str, Any]) -> Fault:
        """The template's error on this row."""
        return template_fault(self.prompt, row) or Fault(Cause.EXPRESSION, "the template gave no text")

    def tokens(self, payloads: Sequence[str], count: Callable[[Sequence[str]], list[int]]) -> list[int]:
        """Those of the description."""
        return [max(1, each) for each in count(payloads)]

    def expected(self, payload: str) -> Usage:  # noqa: ARG002  # what a picture costs does not go by its description
        """What a request will count, as far as it is known beforehand.

        Of the dall-e models, whose price goes by them, quality and size stand in the model's name.
        """
        if not self._named_by_price:
            return Usage(images=self.n)
        family = _FAMILIES[self.model]
        quality, size = self.quality or family.qualities[0], self.size or family.sizes[0]
        return Usage(model=f"{self.model} {quality} {size}", images=self.n)

    def result_schema(self) -> pa.Schema:
        """Of each picture its bytes, and the prompt as it was drawn."""
        import pyarrow as pa

        kinds = {"picture": pa.large_binary(), "revised_prompt": pa.string()}
        return pa.schema([(self._column(name, mark), kind) for mark in self._marks() for name, kind in kinds.items()])

    def body(self, payloads: Sequence[Any]) -> bytes:
        """The description, and that the picture is to come in the answer itself."""
        request: dict[str, Any] = {"model": self.model, "prompt": payloads[0], "n": self.n}
        request |= {"size": self.size, "quality": self.quality, "style": self.style}
        if self.model.startswith("gpt-image"):
            # These answer in base64 only, and refuse to be asked for it.
            request["output_format"] = self.format
        else:
            request["response_format"] = "b64_json"
        given = {name: value for name, value in request.items() if value is not None}
        return msgspec.json.encode({**given, **self.extra_body})

    def read(self, body: bytes | memoryview, payloads: Sequence[Any]) -> Answer:
        """The pictures, known to be such by how they begin."""
        import pyarrow as pa

        answer = decoded(_decoder, body, "not an answer with pictures")
        if answer.error is not None:
            raise UnusableAnswer(f"a success with an error in it; it begins {beginning(body)}")
        if len(answer.data) != self.n:
            raise UnusableAnswer(f"{len(answer.data)} pictures came where {self.n} were asked for")
        cells = [cell for image in answer.data for cell in (self._picture(image), image.revised_prompt)]
        schema = self.result_schema()
        arrays = [pa.array([cell], field.type) for cell, field in zip(cells, schema, strict=True)]
        known, told = self.expected(payloads[0]), answer.usage or _Counts()
        usage = Usage(
            model=known.model,
            prompt_tokens=_tokens(told.input_tokens),
            completion_tokens=_tokens(told.output_tokens),
            images=known.images,
        )
        return Answer(pa.record_batch(arrays, schema=schema), usage)

    def _picture(self, image: _Image) -> bytes:
        content = image.b64_json
        if not content:
            where = "only the address of one" if image.url else "nothing"
            raise UnusableAnswer(f"no picture came, but {where}")
        right = content.startswith(_MAGIC[self.format]) and (self.format != "webp" or content[8:12] == b"WEBP")
        if not right:
            raise UnusableAnswer(f"no {self.format} picture came: it begins {content[:16]!r}")
        return content


def _tokens(told: float | None) -> int:
    """0, which is unknown, for what cannot be a count: a paid picture is not lost for it."""
    return int(told) if told is not None and 0 < told <= _MOST_TOKENS else 0
