"""Settings inside a `chat` step: messages and their parts, tools, and the form of an answer."""

from __future__ import annotations

from typing import Any, Literal, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from penstock.expressions import Template
from penstock.steps.json_schemas import Place, Problem, placed, read_schema_file, schema_problems
from penstock.values import FilePath

_NAME = r"^[a-zA-Z0-9_-]{1,64}$"


class Settings(BaseModel):
    """What they all have: unknown keys are mistakes, and nothing changes them."""

    # Built when the first chat step is read: a pipeline without one does not pay for it.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Part(Settings):
    """A piece of a message: a text or an image."""

    text: Template | None = Field(
        default=None,
        description="Template of a text; left out of the message where it renders as nothing.",
        examples=["What is broken here? {{ note }}"],
    )
    image: Template | None = Field(
        default=None,
        description=(
            "Template of an image: an http address, a data URL, or the path of a PNG, JPEG, GIF or WebP file, which is "
            "sent inside the request. Left out of the message where it renders as nothing."
        ),
        examples=["{{ photo }}"],
    )
    detail: Literal["auto", "low", "high"] | None = Field(
        default=None, description="How closely the model looks at the image; `low` costs the fewest tokens."
    )

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if (self.text is None) == (self.image is None):
            raise ValueError("a part of a message has either `text` or `image`")
        if self.text is not None and self.detail is not None:
            raise placed([(("detail",), "only an image has it")])
        return self


class Message(Settings):
    """One message of the conversation that each row asks."""

    role: Literal["system", "developer", "user", "assistant"] = Field(description="Who says it.")
    content: Template | list[Part] = Field(
        description="Template of what is said, or a list of texts and images; a message without any is left out.",
        examples=["{{ body }}", [{"text": "What is this?"}, {"image": "{{ photo }}", "detail": "low"}]],
    )
    name: str | None = Field(
        default=None, pattern=_NAME, description="Tells speakers of one role apart.", examples=["customer"]
    )

    @property
    def parts(self) -> list[Part]:
        """Its content as a list."""
        return [Part(text=self.content)] if isinstance(self.content, str) else self.content


class Tool(Settings):
    """A function that the model may call; `{type: function, function: {…}}`, as the API has it, is the same."""

    type: Literal["function"] = Field(default="function", description="The kind of tool; there is no other.")
    name: str = Field(pattern=_NAME, description="The function's name.", examples=["find_order"])
    description: str | None = Field(
        default=None, description="When to call it and how, for the model.", examples=["Finds an order by its number."]
    )
    parameters: dict[str, Any] | FilePath | None = Field(
        default=None,
        description="JSON Schema of its arguments, or the path of a file that holds it; none if left out.",
        examples=[{"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]}],
    )
    strict: bool = Field(default=False, description="Whether the arguments must follow the schema to the letter.")

    @model_validator(mode="before")
    @classmethod
    def _unwrapped(cls, data: Any) -> Any:
        if isinstance(data, dict) and set(data) <= {"type", "function"} and isinstance(data.get("function"), dict):
            return {**data["function"], **{name: value for name, value in data.items() if name == "type"}}
        return data

    @field_validator("parameters")
    @classmethod
    def _read(cls, parameters: dict[str, Any] | str | None) -> dict[str, Any] | None:
        return read_schema_file(parameters) if isinstance(parameters, str) else parameters

    @model_validator(mode="after")
    def _has_a_good_schema(self) -> Self:
        if isinstance(self.parameters, dict):
            check_schema(self.parameters, ("parameters",), strict=self.strict)
        elif self.strict:
            raise placed([((), "a strict tool needs `parameters`")])
        return self


class SchemaFormat(Settings):
    """The form of an answer as a JSON Schema."""

    type: Literal["json_schema"] = Field(default="json_schema", description="The kind of form; there is no other here.")
    json_schema: dict[str, Any] | FilePath = Field(
        description="JSON Schema of an object, or the path of a file (JSON or YAML) that holds it.",
        examples=[{"type": "object", "properties": {"topic": {"type": "string"}}}],
    )
    name: str | None = Field(
        default=None, pattern=_NAME, description="Its name in the request; the step's `output` if left out."
    )
    description: str | None = Field(default=None, description="What the answer is for, for the model.")
    strict: bool = Field(
        default=True,
        description=(
            "Whether the service makes the model follow the schema to the letter. The schema must then be of the kind "
            "that its guide on structured outputs describes. Answers are validated either way."
        ),
    )

    @field_validator("json_schema")
    @classmethod
    def _read(cls, schema: dict[str, Any] | str) -> dict[str, Any]:
        if isinstance(schema, str):
            return read_schema_file(schema)
        return schema

    @model_validator(mode="after")
    def _is_a_good_schema(self) -> Self:
        if "schema" in self.schema_itself and "properties" not in self.schema_itself:
            raise placed([(("json_schema", "schema"), "write what stands below it one level higher")])
        check_schema(self.schema_itself, ("json_schema",), strict=self.strict)
        return self

    @property
    def schema_itself(self) -> dict[str, Any]:
        """The schema; a file has been read long since."""
        return self.json_schema if isinstance(self.json_schema, dict) else read_schema_file(self.json_schema)

    @property
    def schema_text(self) -> str:
        """The schema as JSON."""
        return msgspec.json.encode(self.schema_itself).decode()


def check_schema(schema: dict[str, Any], at: Place, *, strict: bool) -> None:
    """Report everything that is wrong with a schema of a pipeline file.

    Raises:
        ValidationError: with the place of each mistake below `at`.
    """
    problems: list[Problem] = schema_problems(schema, strict=strict)
    if problems:
        raise placed([((*at, *place), f"{message}{_where(place)}") for place, message in problems])


def _where(place: Place) -> str:
    """The place in words, for schemas in files of their own."""
    steps = ".".join(map(str, place))
    return f"; it stands at `{steps}` of the schema" if steps else ""
