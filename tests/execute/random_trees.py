"""Pipelines drawn at random: any kinds of steps, in any order and any tree, with what they need beside them."""

from __future__ import annotations

import wave
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st

KINDS: dict[str, list[str]] = {
    "chat": [
        "model: gpt-4o-mini\nprompt: '{{{{ text }}}}'\noutput: {id}_answer\nmax_tokens: 20",
        "model: gpt-4o-mini\nsystem: Be brief.\nprompt: '{{{{ text }}}}'\noutput: {id}_answer\nstream: true",
        "model: gpt-4o-mini\nprompt: '{{{{ text }}}}'\noutput: {id}_answer\nn: 2",
        "model: gpt-4o-mini\nprompt: '{{{{ text }}}}'\noutput: {id}_answer\nrepair: {n}\nresponse_format:\n"
        "  json_schema: {{type: object, properties: {{topic: {{type: string, enum: [price, other]}}, "
        "score: {{type: integer}}}}, required: [topic, score], additionalProperties: false}}",
    ],
    "chunk": [
        "input: text\ntokens: 8\nat: words\noutput: {id}_piece\nposition: {id}_at\nstart: {id}_start\nend: {id}_end",
    ],
    "dedupe": [
        "by: [text]",
        "by: [text]\nnulls: equal",
        "text: '{{{{ 12 // (text|length - 1) }}}} {{{{ text }}}}'\nnear: 90%",
    ],
    "derive": [
        "columns: {{{id}_size: length(text)}}",
        "columns: {{{id}_number: CAST(text AS BIGINT)}}",
        "columns: {{id: CAST(id AS VARCHAR)}}",
    ],
    "embed": [
        "input: '{{{{ text }}}}'\nmodel: text-embedding-3-small\ndimensions: 4\noutput: {id}_vector\nbatch_size: 2",
        "input: '{{{{ text }}}}'\nmodel: text-embedding-3-small\ndimensions: 4\noutput: {id}_vector\noverflow: split",
        "input: '{{{{ 6 // (text|length - 1) }}}} {{{{ text }}}}'\nmodel: text-embedding-3-small\ndimensions: 4\n"
        "output: {id}_vector\nwhen: length(text) > {n}\nusage: false",
    ],
    "explode": [
        "column: {id}_list\noutput: {id}_word\nposition: {id}_at",
        "column: {id}_list\nempty: keep\noutput: {id}_word\nposition: {id}_at",
    ],
    "filter": ["where: length(text) % 3 <> {n}", "where: CAST(text AS BIGINT) > {n}"],
    "image": [
        "prompt: '{{{{ text }}}}'\nmodel: dall-e-2\nsize: 256x256\nfolder: drawn\nfile_name: '{id}'\noutput: {id}",
        "prompt: '{{{{ text }}}}'\nmodel: dall-e-2\nsize: 256x256\nfolder: drawn\nfile_name: '{id}'\noutput: {id}\n"
        "n: 2",
    ],
    "join": [
        '"on": text\nwith: {{path: labels.csv}}\ncolumns: {{{id}_label: label}}\nmany: true\nposition: {id}_at',
        '"on": text\nwith: {{path: labels.csv}}\ncolumns: {{{id}_label: label}}\nmany: true\nhow: inner\n'
        "position: {id}_at",
        '"on": text\nwith: {{path: labels.csv}}\nhow: semi',
        '"on": text\nwith: {{path: labels.csv}}\nhow: anti',
    ],
    "moderate": ["input: '{{{{ text }}}}'\nprefix: {id}_"],
    "python": [
        "function: shapes:measured\ncolumns: {{{id}_size: integer}}\narguments: {{name: {id}_size}}",
        "function: shapes:thinned\nrows: fewer\narguments: {{keep: {n}}}",
        "function: shapes:doubled\nrows: any\nposition: {id}_at",
    ],
    "redact": ["columns: [text]"],
    "sample": ["share: 60%\nseed: {n}", "share: 60%\nby: text"],
    "sample_rows": ["rows: 5\nseed: {n}"],
    "select": ["columns: [{keys}, text]", "columns: {{{keys_renamed}, text: text}}", "columns: [id, text]"],
    "speak": [
        "input: '{{{{ text }}}}'\nfolder: spoken\nfile_name: '{id}'\nformat: wav\noutput: {id}\nmax_characters: 100",
        "input: '{{{{ text }}}}'\nfolder: spoken\nfile_name: '{id}'\nformat: pcm\noutput: {id}\n"
        "when: length(text) < 9\nspeed: 4",
    ],
    "split": ["sets: {{a: 50%, b: 50%}}\noutput: {id}_set", "sets: {{a: 50%, b: 50%}}\nby: text\noutput: {id}_set"],
    "split_exact": [
        "sets: {{a: 50%, b: 50%}}\noutput: {id}_set",
        "sets: {{a: 70%, b: rest}}\nstratify: text\noutput: {id}_set",
    ],
    "transcribe": [
        "file: '{{{{ text|length % 3 }}}}.wav'\nfolder: sounds\noutput: {id}",
        "file: '{{{{ text|length % 4 }}}}.wav'\nfolder: sounds\nmodel: gpt-4o-transcribe\nprompt: '{{{{ text }}}}'\n"
        "output: {id}",
        "file: '{{{{ text|length % 2 }}}}.wav'\nfolder: sounds\noutput: {id}\n"
        "subtitles: {{folder: subtitles, file_name: '{id}', formats: [srt]}}",
    ],
}
"""By kind, settings of a step of it: `{id}` is its name and `{n}` a number from 0 to 2. Each adds columns of its own
names and leaves `id` and `text` there, so that any step may follow any other."""
POSITIONS = {"chunk", "explode", "join", "python"}
"""Kinds some of whose settings make several rows of one, numbered in the column `<id>_at`."""
TEXTS = ["a", "b", "7", "12", "same", "", "POISON", "mail me@example.org", "long text here", "one, two. " * 12]

_SHAPES = """
import polars as pl


def measured(table: pl.DataFrame, name: str) -> pl.DataFrame:
    return table.with_columns(pl.col("text").str.len_chars().cast(pl.Int64).alias(name))


def thinned(table: pl.DataFrame, keep: int) -> pl.DataFrame:
    return table.filter(pl.col("text").str.len_chars().fill_null(0) % 3 == keep).reverse()


def doubled(table: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([table, table.filter(pl.col("text").str.len_chars() > 3)])
"""


@dataclass(frozen=True)
class Tree:
    """A drawn pipeline.

    Attributes:
        steps: its blocks of YAML, divided as `Bench.pipeline` takes them.
        parents: of each step the one whose rows it takes.
        keys: of each step the columns that name its rows; None where a step dropped one of them.
    """

    steps: str
    parents: dict[str, str]
    keys: dict[str, list[str] | None] = field(default_factory=dict)

    @property
    def ends(self) -> list[str]:
        """The steps that nothing follows."""
        taken = set(self.parents.values())
        return [name for name in ["source", *self.parents] if name not in taken]


@st.composite
def trees(draw: st.DrawFn, kinds: frozenset[str] = frozenset(KINDS), longest: int = 5) -> Tree:
    """Up to five steps of any kind, each after one of the last two."""
    parents: dict[str, str] = {}
    keys: dict[str, list[str] | None] = {"source": ["id"]}
    columns: dict[str, list[str]] = {"source": ["id"]}
    blocks: list[str] = []
    for number in range(draw(st.integers(1, longest))):
        kind = draw(st.sampled_from(sorted(kinds)))
        name = f"s{number}"
        before = draw(st.sampled_from(["source", *parents][-2:]))
        given = columns[before]
        settings = draw(st.sampled_from(KINDS[kind])).format(
            id=name,
            n=draw(st.integers(0, 2)),
            keys=", ".join(given),
            keys_renamed=", ".join(f"{key}: {key}" for key in given),
        )
        parents[name], keys[name], columns[name] = before, keys[before], given
        if kind == "explode":
            made = f"{name}_made"
            blocks.append(
                f"id: {made}\nfrom: {before}\nuses: derive\ncolumns: {{{name}_list: \"string_to_array(text, ' ')\"}}"
            )
            parents.pop(name)
            parents |= {made: before, name: made}
            keys[made], columns[made] = keys[before], given
            before = made
        if f"{name}_at" in settings:
            columns[name] = [*given, f"{name}_at"]
            keys[name] = None if keys[name] is None else [*keys[name], f"{name}_at"]
        if settings == "columns: [id, text]":
            columns[name] = ["id"]
            keys[name] = keys[name] if given == ["id"] else None
        blocks.append(f"id: {name}\nfrom: {before}\nuses: {kind}\n{settings}")
    return Tree("\n---\n".join(blocks), parents, keys)


def beside(folder: Path) -> None:
    """What the steps of a drawn pipeline need beside it: a table, a module, and recordings, one of them no sound."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.csv").write_text("text,label\na,first\na,second\nsame,third\n12,fourth\n")
    (folder / "shapes.py").write_text(_SHAPES)
    (folder / "sounds").mkdir()
    for number in range(2):
        with wave.open(str(folder / "sounds" / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(bytes(6_400 * (number + 1)))
    (folder / "sounds" / "2.wav").write_text("no sound")
