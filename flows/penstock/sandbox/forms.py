"""Bodies of ``multipart/form-data``: the texts and files of an upload, from a body that was read whole.

Source: RFC 7578. Names that end in ``[]`` are lists, as the official clients send them; the brackets are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from penstock.sandbox import errors
from penstock.sandbox.errors import ApiError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FORM = "multipart/form-data"
_MOST_PARTS = 1_000


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a form.

    Attributes:
        name: the file's name as the client gave it; may be empty.
        content: its bytes.
        media_type: its Content-Type; empty when the client named none.
    """

    name: str
    content: bytes
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """The parts of one form.

    Attributes:
        texts: the values of each field in their order; most fields have one.
        files: by field; the last one counts.
    """

    texts: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, Upload] = field(default_factory=dict)

    def text(self, name: str, default: str = "") -> str:
        """The last value of a field, or `default` when it was not sent."""
        return self.texts[name][-1] if name in self.texts else default


def parse_form(content_type: str, body: bytes) -> Form:
    """Read a form.

    Raises:
        ApiError: 400, the content type is another one, or the body is no form.
    """
    kind, options = parse_options_header(_latin(content_type))
    if kind != FORM.encode():
        raise errors.unsupported_content_type(content_type, FORM)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise _unparsable()
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError):
        raise _unparsable() from None
    if not reader.ended:
        raise _unparsable()
    return reader.form


class _Reader:
    """Puts together what the parser finds."""

    def __init__(self) -> None:
        self.form = Form()
        self.ended = False
        self._parts = 0
        self._header = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._content = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_to_header,
            "on_header_value": self._add_to_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_to_content,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise _unparsable()
        self._headers = {}
        self._content = bytearray()

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _add_to_content(self, data: bytes, start: int, end: int) -> None:
        self._content += memoryview(data)[start:end]

    def _end_part(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b"").decode("latin-1"))
        if b"name" not in options:
            raise _unparsable()
        name = _utf8(options[b"name"]).removesuffix("[]")
        content = bytes(self._content)
        if b"filename" in options:
            media_type = self._headers.get(b"content-type", b"").decode("latin-1")
            self.form.files[name] = Upload(_utf8(options[b"filename"]), content, media_type)
        else:
            self.form.texts.setdefault(name, []).append(_utf8(content))

    def _end(self) -> None:
        self.ended = True


def _latin(text: str) -> str:
    # The parser writes parameters as Latin-1; headers that hold anything else are no headers.
    return text.encode("latin-1", "replace").decode("latin-1")


def _utf8(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _unparsable() -> ApiError:
    return ApiError(400, "Could not parse multipart form")
