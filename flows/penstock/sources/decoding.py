"""From stored bytes to plain UTF-8 text: compressed files, other encodings, and JSON arrays as lines."""

from __future__ import annotations

import bz2
import codecs
import gzip
import json
import lzma
import zlib
from collections.abc import Iterator
from typing import IO, Any

from penstock.errors import InputError

_CHUNK = 4 << 20
_LONGEST_ELEMENT = 256 << 20
_BLANK = " \t\r\n"


def plain_chunks(raw: IO[bytes], name: str, *, compression: str, encoding: str, array: bool) -> Iterator[bytes]:
    """The text of a stored file, piece by piece.

    Args:
        raw: the stored bytes.
        name: of the file, for messages.
        compression: gzip, bzip2, xz, zstd or "".
        encoding: of the text, or "" for UTF-8. Bytes that are none of it stay as they are, so that only their row is
            lost.
        array: whether a text that begins with ``[`` is an array, of which each element becomes a line.

    Raises:
        InputError: the file is damaged.
    """
    chunks = _unpacked(raw, name, compression)
    if encoding:
        chunks = _encoded(_decoded(chunks, encoding))
    return _lines_of_array(chunks, name) if array else chunks


def _unpacked(raw: IO[bytes], name: str, compression: str) -> Iterator[bytes]:
    import pyarrow as pa

    damaged = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowInvalid)
    try:
        stream = _opened(raw, compression)
        while chunk := stream.read(_CHUNK):
            yield chunk
    except damaged as error:
        raise InputError(f"source.path: {name} is not a whole {compression or 'text'} file: {error}") from None


def _opened(raw: IO[bytes], compression: str) -> Any:
    if compression == "zstd":
        import pyarrow as pa

        return pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
    openers: dict[str, Any] = {"gzip": gzip.GzipFile, "bzip2": bz2.BZ2File, "xz": lzma.LZMAFile}
    if compression == "gzip":
        return gzip.GzipFile(fileobj=raw)
    return openers[compression](raw) if compression else raw


def _decoded(chunks: Iterator[bytes], encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
    for chunk in chunks:
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def _encoded(texts: Iterator[str]) -> Iterator[bytes]:
    for text in texts:
        yield text.encode("utf-8", "surrogateescape")


def _lines_of_array(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    first = next((chunk for chunk in chunks if chunk.strip()), b"")
    rest = _after(first, chunks)
    if first.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        return _elements(_decoded(rest, "utf-8-sig"), name)
    return rest


def _after(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from chunks


def _elements(texts: Iterator[str], name: str) -> Iterator[bytes]:
    """Each element of an array as a line, without having more than one chunk and one element in memory."""
    decoder = json.JSONDecoder()
    text, done = "", 0
    place = -1
    for more in texts:
        text, done, place = text[max(place, 0) :], done + max(place, 0), 0 if place >= 0 else -1
        text += more
        if place < 0:
            place = text.find("[") + 1
        lines: list[str] = []
        while True:
            while place < len(text) and text[place] in _BLANK + ",":
                place += 1
            if place >= len(text) or text[place] == "]":
                break
            try:
                _, end = decoder.raw_decode(text, place)
            except json.JSONDecodeError:
                break
            except RecursionError:
                raise InputError(f"source.path: {name} nests values too deeply") from None
            if end >= len(text):
                # A number could go on in the next piece.
                break
            lines.append(text[place:end].replace("\n", " ").replace("\r", " ") + "\n")
            place = end
        yield "".join(lines).encode("utf-8", "surrogateescape")
        if len(text) - place > _LONGEST_ELEMENT:
            break
    if text[place:].strip() != "]":
        raise InputError(
            f"source.path: {name} is an array that breaks off or is no JSON after {done + place:,} characters; "
            "in JSON Lines only the bad line would be lost"
        )
