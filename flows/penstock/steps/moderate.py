"""`moderate`: what harm a text or an image may hold, by the moderations endpoint.

Source: API reference, "Create moderation"; moderation guide (20 MB an image, one image an input).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from penstock.expressions import Template, renderer
from penstock.items import Answer, Cause, Fault, Packing, Usage
from penstock.pictures import ImageFile, UnreadableImage, data_url, find_image
from penstock.steps.base import ApiStep, Columns
from penstock.steps.categories import (
    CATEGORIES,
    OMNI_ONLY,
    check_scores,
    column_types,
    columns,
    read_verdicts,
    schema_of,
    with_thresholds,
)
from penstock.steps.named_files import NamedFile, content_mark
from penstock.steps.rendering import rendered, template_fault
from penstock.values import FilePath, Share

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_OWN_MODELS = ("omni-moderation", "text-moderation")
_MOST_TOKENS = 32_768
"""Of a text: the service reads no further (model pages of ``text-moderation``), and says nothing of it."""
_IMAGE_TOKENS = 765
"""A picture of 1024 by 1024 (vision guide); the service counts no tokens of moderations."""
_TEXT_BYTES = 1_500
_IMAGE_BYTES = 1_000_000
"""What an input keeps in memory while it is asked: of a text its answer, of an image the picture."""


class Moderate(ApiStep):
    """Packs many texts into a request; an image goes alone, with its text. Costs nothing.

    Adds `flagged`, `flagged_categories` (the names of those that say so), `categories` and `category_scores` (a field
    per category, null where the service names none), and `other_categories`: what the service says of categories that
    Penstock does not know, null when there are none.
    """

    kind: ClassVar[str] = "moderate"
    summary: ClassVar[str] = "Says of a text or an image per row whether it may be harmful, and how, by category."
    endpoint: ClassVar[str] = "/moderations"
    beside_wire: ClassVar[frozenset[str]] = frozenset({"input", "image", "folder", "prefix", "thresholds"})
    prompt_only: ClassVar[bool] = True
    example: ClassVar[str] = 'uses: moderate\ninput: "{{ body }}"\nthresholds: {harassment: 0.3, violence: 80%}\n'

    uses: Literal["moderate"] = Field(description="The kind of step.")
    model: str = Field(
        default="omni-moderation-latest",
        min_length=1,
        description="The model that is asked, by its id.",
        examples=["omni-moderation-latest"],
    )
    input: Template | None = Field(
        default=None,
        min_length=1,
        description="Template of the text. Nulls render as nothing; a row with neither text nor image is an error row.",
        examples=["{{ body }}"],
    )
    image: Template | None = Field(
        default=None,
        min_length=1,
        description="Template of an image: an http(s) address, or the path of a PNG, JPEG, GIF or WebP file of at most "
        "20 MB. It is judged together with the text, one row per request; for omni-moderation models.",
        examples=["{{ photo }}"],
    )
    folder: FilePath = Field(
        default=".",
        min_length=1,
        description="Where relative paths of `image` start; the folder of the pipeline file if left out.",
        examples=["../photos"],
    )
    thresholds: dict[str, Share] = Field(
        default_factory=dict,
        description="Scores from which a category counts as flagged, in the place of the service's own verdict on it. "
        "They decide `flagged` and `flagged_categories`; `categories` stays what the service said.",
        examples=[{"harassment": 0.3, "violence": "80%"}],
    )
    prefix: str = Field(
        default="",
        description="What the names of the new columns begin with; for a pipeline that moderates twice.",
        examples=["title_"],
    )
    input_types: bool = Field(
        default=False,
        description="Add `category_applied_input_types`: by category, whether text or image was looked at.",
    )
    batch_size: int = Field(
        default=32,
        ge=1,
        le=2048,
        description="Texts per request at most. The API names no limit; some servers take one text only.",
    )

    @field_validator("thresholds")
    @classmethod
    def _no_wrong_name(cls, thresholds: dict[str, float], info: Any) -> dict[str, float]:
        model = info.data.get("model") or ""
        if not model.startswith(_OWN_MODELS):
            return thresholds
        known = [name for name in CATEGORIES if model.startswith("omni-") or name not in OMNI_ONLY]
        for name in thresholds:
            if name not in known:
                raise ValueError(f"{model} has no category {name!r}; it has {', '.join(known)}")
        return thresholds

    @model_validator(mode="after")
    def _has_something_to_ask(self) -> Moderate:
        if self.input is None and self.image is None:
            raise ValueError("give it an `input`, an `image`, or both")
        if self.image is not None and self.model.startswith("text-moderation"):
            raise ValueError(f"{self.model} takes no image; omni-moderation-latest does")
        return self

    def columns_after(self, given: Mapping[str, str | None]) -> Columns:
        """The columns before, and the verdict's."""
        added = column_types(self.prefix, input_types=self.input_types)
        if taken := next((name for name in added if name in given), None):
            raise ValueError(f"the column {taken!r} exists already; give the new ones a `prefix`")
        return {**given, **added}

    @property
    def packing(self) -> Packing:
        """Texts in numbers, each image alone."""
        if self.image is not None:
            return Packing(max_items=1, answer_bytes=_IMAGE_BYTES)
        return Packing(
            max_items=self.batch_size,
            max_item_tokens=_MOST_TOKENS,
            max_request_tokens=_MOST_TOKENS,
            answer_bytes=_TEXT_BYTES,
        )

    @property
    def at_once(self) -> bool:
        """A verdict is given in one pass."""
        return True

    def content(self) -> dict[str, Any]:
        """How texts are packed does not change a verdict, nor where images would be found if there were any."""
        left_out = {"batch_size"} if self.image is not None else {"batch_size", "folder"}
        return {name: value for name, value in super().content().items() if name not in left_out}

    def wire(self) -> dict[str, Any]:
        """As of any step; payloads of a step with `image` are read another way, be it the same text."""
        return {**super().wire(), "image": self.image is not None}

    @property
    def in_table(self) -> bool:
        """Not where thresholds have taken the place of the service's own verdict."""
        return not self.thresholds

    def finished(self, answers: pa.Table) -> pa.Table:
        """The verdicts by the thresholds."""
        return with_thresholds(answers, self.thresholds) if self.thresholds else answers

    def payloads(self, frame: pl.DataFrame) -> pl.Series:
        """The rendered texts; of a step with `image` all are JSON objects, so that no text can be taken for one."""
        import polars as pl

        if self.image is None:
            return rendered(self.input or "", frame)
        texts = rendered(self.input, frame).to_list() if self.input else [""] * len(frame)
        images = rendered(self.image, frame).to_list()
        made = [self._payload(text, image) for text, image in zip(texts, images, strict=True)]
        return pl.Series("payload", made, dtype=pl.String)

    def _payload(self, text: str | None, image: str | None) -> str | None:
        if text is None or image is None:
            return None
        asked: dict[str, Any] = {"text": text} if text.strip() else {}
        if image.strip():
            try:
                found = find_image(image.strip(), self.folder)
            except UnreadableImage:
                return None
            if isinstance(found, ImageFile):
                asked |= {"file": found.path, "size": found.size, "modified": found.modified}
            else:
                asked["url"] = found
        return json.dumps(asked, ensure_ascii=False) if asked else ""

    def named_files(self, payload: str) -> Sequence[NamedFile]:
        """The image, where it is a file."""
        asked = json.loads(payload) if self.image is not None else {}
        return (NamedFile(asked["file"], asked["size"], asked["modified"]),) if "file" in asked else ()

    def identity(self, payload: str) -> str:
        """With the image's content in the place of its path and time."""
        files = self.named_files(payload)
        if not files:
            return payload
        text = {name: value for name, value in json.loads(payload).items() if name == "text"}
        return json.dumps({**text, "content": content_mark(files[0])}, ensure_ascii=False)

    def payload_error(self, row: Mapping[str, Any]) -> Fault:
        """The template's error on this row, or what is wrong with its image."""
        for template in (self.input, self.image):
            if template is not None and (fault := template_fault(template, row)):
                return fault
        if self.image is not None:
            try:
                find_image(self._image_of(row), self.folder)
            except UnreadableImage as error:
                return Fault(Cause.UNREADABLE_FILE, str(error))
        return Fault(Cause.EXPRESSION, "the template gave no text")

    def _image_of(self, row: Mapping[str, Any]) -> str:
        return renderer(self.image or "")(row).strip()

    def tokens(self, payloads: Sequence[str], count: Callable[[Sequence[str]], list[int]]) -> list[int]:
        """The tokens of the texts, and a guess for each image."""
        if self.image is None:
            return count(payloads)
        asked = [json.loads(payload) for payload in payloads]
        texts = count([one.get("text", "") for one in asked])
        images = [0 if one.keys() == {"text"} else _IMAGE_TOKENS for one in asked]
        return [text + image for text, image in zip(texts, images, strict=True)]

    def result_schema(self) -> pa.Schema:
        """The verdict's columns."""
        return schema_of(self.prefix, input_types=self.input_types)

    def body(self, payloads: Sequence[Any]) -> bytes:
        """Texts as one array; an image, and the text that belongs to it, as a list of parts.

        Raises:
            FileChanged: an image's file is not the one that was looked at any more.
        """
        import msgspec

        asked = list(payloads) if self.image is None else _parts(json.loads(payloads[0]))
        return msgspec.json.encode({"model": self.model, "input": asked, **self.extra_body})

    def read(self, body: bytes | memoryview, payloads: Sequence[Any]) -> Answer:
        """A row per payload, checked for their number and for scores from 0 to 1; they come in the order asked."""
        import pyarrow as pa

        verdicts = read_verdicts(body, len(payloads))
        schema = self.result_schema()
        check_scores(verdicts.results, self.thresholds)
        made = columns(verdicts.results, schema)
        return Answer(pa.record_batch(made, schema=schema), Usage(model=verdicts.model))


def _parts(asked: Mapping[str, Any]) -> list[Any]:
    if asked.keys() == {"text"}:
        return [asked["text"]]
    url = asked["url"] if "url" in asked else data_url(ImageFile(asked["file"], asked["size"], asked["modified"]))
    text = [{"type": "text", "text": asked["text"]}] if "text" in asked else []
    return [*text, {"type": "image_url", "image_url": {"url": url}}]
