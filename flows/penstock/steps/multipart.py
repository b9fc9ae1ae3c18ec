"""Bodies of ``multipart/form-data`` with one file (RFC 7578)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

_BOUNDARY = f"penstock-{secrets.token_hex(16)}"
"""One per process, so that what is sent and what is said of it agree; 128 bits of chance, which no file holds."""
CONTENT_TYPE = f"multipart/form-data; boundary={_BOUNDARY}"


def form(fields: Mapping[str, Any], *, file_name: str, media_type: str, content: bytes) -> bytes:
    """The fields, then `content` as the field ``file``.

    Args:
        fields: texts as they are; numbers, booleans and mappings as JSON; a list as one part per entry, under a name
            that ends in ``[]``; None is left out.
        file_name: as the server sees it: letters, digits and dots.
    """
    parts: list[bytes] = []
    for name, value in fields.items():
        each = value if isinstance(value, list) else [value]
        shown = f"{name}[]" if isinstance(value, list) and not name.endswith("[]") else name
        parts += [_part(f'name="{_quoted(shown)}"', _text(one).encode()) for one in each if one is not None]
    parts.append(_part(f'name="file"; filename="{file_name}"', content, f"Content-Type: {media_type}\r\n"))
    return b"".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])


def _part(disposition: str, content: bytes, further: str = "") -> bytes:
    head = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n{further}\r\n"
    return b"".join([head.encode(), content, b"\r\n"])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _quoted(name: str) -> str:
    # As browsers do it (WHATWG, "multipart/form-data encoding algorithm").
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
