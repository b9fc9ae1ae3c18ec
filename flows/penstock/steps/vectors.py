"""Reading an embeddings response: base64 or floats, in whatever order, and only if it is whole and finite."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from penstock.errors import InvalidAnswer, UnusableAnswer
from penstock.steps.answer_body import decoded

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_MOST_TOKENS = 1_000_000_000
_INFINITE_HALF = 65_520.0
_ZERO_BYTES = b"\x00\x80"
_LOOKED_AT = 32


@dataclass(frozen=True, slots=True)
class Vectors:
    """Little-endian float32 of all vectors, one after the other in the order of the request."""

    data: bytes
    model: str | None
    prompt_tokens: int


class _Usage(msgspec.Struct):
    prompt_tokens: int | float | None = None
    total_tokens: int | float | None = None


class _Base64(msgspec.Struct):
    # msgspec decodes base64 while it parses: 184,000 vectors of 1,536 numbers per CPU-second were seen.
    embedding: bytes
    index: int | None = None


class _Floats(msgspec.Struct):
    embedding: list[float]
    index: int | None = None


class _Base64Response(msgspec.Struct):
    data: list[_Base64]
    model: str | None = None
    usage: _Usage | None = None


class _FloatResponse(msgspec.Struct):
    data: list[_Floats]
    model: str | None = None
    usage: _Usage | None = None


_base64 = msgspec.json.Decoder(_Base64Response)
_floats = msgspec.json.Decoder(_FloatResponse)


def read_vectors(body: bytes | memoryview, count: int, size: int | None) -> Vectors:
    """The `count` vectors of a response, each of `size` numbers where that is known.

    Raises:
        UnusableAnswer: not JSON of that shape, too few or too many vectors, indexes that are not 0 to count-1 once
            each, vectors of different or wrong lengths, NaN or infinity, or a vector of zeros only.
    """
    response = _decode(body)
    entries: Sequence[_Base64 | _Floats] = response.data
    if len(entries) != count:
        raise UnusableAnswer(f"{len(entries)} vectors came for {count} texts")
    vectors: list[bytes] = [b""] * count
    for place, entry in enumerate(entries):
        index = place if entry.index is None else entry.index
        if not 0 <= index < count or vectors[index]:
            raise UnusableAnswer(f"the vector indexes are not 0 to {count - 1}, each once (index {index})")
        vectors[index] = _as_bytes(entry)
    expected = 4 * size if size else len(vectors[0])
    if wrong := next((vector for vector in vectors if len(vector) != expected or not vector), None):
        raise UnusableAnswer(f"a vector has {len(wrong) / 4:g} numbers where {expected // 4} belong")
    if any(not vector for vector in vectors):
        raise UnusableAnswer("a vector is empty")
    if expected % 4:
        raise UnusableAnswer(f"a vector has {expected} bytes, which are no whole numbers of four bytes each")
    data = b"".join(vectors)
    _check_numbers(data, count)
    return Vectors(data, response.model, _tokens(response.usage))


def as_column(vectors: Vectors, count: int, *, half: bool) -> pa.FixedSizeListArray:
    """A fixed-size list of float32 or, with `half`, of float16 per vector.

    Raises:
        InvalidAnswer: as float16 a number would be infinite, or a vector all zeros.
    """
    import pyarrow as pa

    length = len(vectors.data) // 4
    numbers = pa.Array.from_buffers(pa.float32(), length, [None, pa.py_buffer(vectors.data)])
    return _column(_halved(numbers, count) if half else numbers, length // count)


def mean_vector(vectors: pa.FixedSizeListArray, weights: Sequence[int]) -> pa.FixedSizeListArray:
    """One vector of several: their mean by `weights`, made as long as they are, so that unit vectors give one.

    Where they cancel each other out, which no model's do, it is the one of most weight.
    """
    import polars as pl
    import pyarrow as pa

    kind = vectors.type.value_type
    count, size = len(vectors), vectors.type.list_size
    if count == 1:
        return vectors
    numbers = pl.Series(vectors.flatten().cast(pa.float32())).cast(pl.Float64)
    each = [numbers.slice(place * size, size) for place in range(count)]
    whole = sum(weights) or count
    shares = [weight / whole if sum(weights) else 1 / whole for weight in weights]
    mean = sum((vector * share for vector, share in zip(each, shares, strict=True)), start=pl.zeros(size, eager=True))
    length = sum(share * _length(vector) for vector, share in zip(each, shares, strict=True))
    if not _length(mean):
        mean = each[shares.index(max(shares))]
    mean = (mean * (length / _length(mean))).cast(pl.Float32)
    return _column(mean.to_arrow().cast(kind), size)


def _length(vector: pl.Series) -> float:
    return math.sqrt((vector * vector).sum())


def _column(numbers: pa.Array, size: int) -> pa.FixedSizeListArray:
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(numbers, type=vector_type(numbers.type, size))


def vector_type(number: pa.DataType, size: int | None) -> pa.DataType:
    """The type of a column of vectors: of `size` numbers, or of a number that only the first answer tells."""
    import pyarrow as pa

    item = pa.field("item", number, nullable=False)
    return pa.list_(item, size) if size else pa.list_(item)


def _halved(numbers: pa.Array, count: int) -> pa.Array:
    import polars as pl
    import pyarrow as pa

    singles = pl.Series(numbers)
    # Both are numbers: infinity and NaN were refused before. From half a step above the largest it rounds to infinity.
    if max(singles.max(), -singles.min()) >= _INFINITE_HALF:  # type: ignore[operator, type-var]
        raise InvalidAnswer("a vector holds a number that is too large for float16; use `dtype: float32`")
    halves = numbers.cast(pa.float16())
    data = halves.buffers()[1].to_pybytes()
    if _any_zeros(data, count, "e"):
        raise InvalidAnswer("the numbers of a vector are too small for float16; use `dtype: float32`")
    return halves


def _tokens(usage: _Usage | None) -> int:
    """As counted; 0, which is unknown, for what cannot be a count: paid vectors are not lost for it."""
    counts = [usage.prompt_tokens or 0, usage.total_tokens or 0] if usage else [0]
    return max((int(count) for count in counts if 0 < count <= _MOST_TOKENS), default=0)


def _decode(body: bytes | memoryview) -> _Base64Response | _FloatResponse:
    try:
        return _base64.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        # Some servers send floats whatever they are asked for.
        return decoded(_floats, body, "not an embeddings response")


def _as_bytes(entry: _Base64 | _Floats) -> bytes:
    if isinstance(entry, _Base64):
        return entry.embedding
    try:
        return struct.pack(f"<{len(entry.embedding)}f", *entry.embedding)
    except (struct.error, OverflowError) as error:
        raise UnusableAnswer(f"a vector holds a number that is no float32: {error}") from None


def _check_numbers(data: bytes, count: int) -> None:
    import polars as pl
    import pyarrow as pa

    numbers = pl.Series(pa.Array.from_buffers(pa.float32(), len(data) // 4, [None, pa.py_buffer(data)]))
    # NaN and infinity survive a sum, so a finite sum proves all at once; a sum may overflow, so then each is looked at.
    if not math.isfinite(numbers.sum()) and not numbers.is_finite().all():
        raise UnusableAnswer("a vector holds NaN or infinity")
    if _any_zeros(data, count, "f"):
        raise UnusableAnswer("a vector is all zeros")


def _any_zeros(data: bytes, count: int, number: str) -> bool:
    """Whether one of the `count` vectors has no number but zeros."""
    width = len(data) // count
    # Hardly a vector begins with zeros, so that few are looked at as a whole.
    return any(
        not data[start : start + _LOOKED_AT].strip(_ZERO_BYTES) and _is_zero(data[start : start + width], number)
        for start in range(0, len(data), width)
    )


def _is_zero(vector: bytes, number: str) -> bool:
    # The bytes of zero and of minus zero; few other numbers are made of them, so that hardly a vector is unpacked.
    return not vector.strip(_ZERO_BYTES) and not any(
        struct.unpack(f"<{len(vector) // struct.calcsize(number)}{number}", vector)
    )
