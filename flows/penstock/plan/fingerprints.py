"""Fingerprints: what decides a part's content, and nothing else, as one name.

In it: the settings of the segment's steps that reach the wire or the table, the version of each step kind's code, the
provider's address, the fingerprint of the part it reads or the content of the source slice, and the source's column
types. Not in it: limits, retries, time-outs, concurrency, names and descriptions.

Answers go by less: see `wire_fingerprint`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penstock.plan.model import Segment
from penstock.sources import ENDINGS, Slice, SourceSettings, file_state
from penstock.steps import ApiStep, Step

_VERSION = 2


def fingerprint(*contents: Any) -> str:
    """32 hexadecimal digits that stand for JSON-able contents."""
    text = json.dumps([_VERSION, *contents], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def segment_content(segment: Segment, steps: Sequence[Step], provider: str, key: Sequence[str]) -> list[Any]:
    """What a segment does to its rows. `provider` says where its requests go.

    Raises:
        InputError: a file that a step reads is not there.
    """
    last = steps[segment.steps[-1]] if segment.steps else None
    # A step's name is no content, but the column with its usage is called by it.
    usage = f"{last.name}_usage" if isinstance(last, ApiStep) and last.usage else ""
    contents: list[Any] = [steps[place].content() for place in segment.steps]
    contents += [file_state(file).digest for place in segment.steps for file in steps[place].files]
    return [list(key), provider if segment.api else "", usage, *contents]


def wire_fingerprint(step: ApiStep, provider: str) -> str:
    """What names the answers of a step: with a payload's digest it stands for a request and how its answer is read.

    Two steps, of any pipeline and any run, that have the same one get the same answer for the same payload. In it: kind
    and code version, model, all fields of requests but those that are payloads, the contents of files such as JSON
    Schemas, and what identifies the provider. Not in it: where files go, what columns are called, `when`, templates
    (they are in the payloads), and the rows.

    Args:
        provider: `identity` of the step's provider.

    Raises:
        InputError: a file that the step reads is not there.
    """
    return fingerprint("wire", provider, step.wire(), [file_state(file).digest for file in step.files])


def part_name(wire: str, rows: str, content: str) -> str:
    """The name of an API step's part: that of its journal, a dash, and the part's own fingerprint.

    The journal goes by the wire and by the rows of the source, so that it is found again whatever else was changed.

    Args:
        wire: `wire_fingerprint`.
        rows: fingerprint of the partition's source rows.
        content: fingerprint of all that decides the part.
    """
    return f"{fingerprint(wire, rows)}-{content}"


def slices_content(slices: Sequence[Slice], settings: SourceSettings, schema: str) -> list[Any]:
    """What a partition's rows are: the digests of its slices. Their places matter only where they name the rows."""
    places = [] if settings.keys else [[piece.file, piece.first_row] for piece in slices]
    what = [[piece.digest, piece.rows] for piece in slices]
    # Settings that say what is so anyway change nothing; types and key stand in the schema and the segments.
    ending = Path(settings.path).suffix.lower()
    kind = settings.format or ENDINGS.get(ending)
    delimiter = settings.delimiter or ("\t" if ending == ".tsv" else ",")
    return [what, places, kind, "" if kind != "csv" or delimiter == "," else delimiter, schema]
