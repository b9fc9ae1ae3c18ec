"""A folder with a source and a pipeline, as a user has them, and runs of it without Prefect."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import polars as pl

from penstock.execute.inline import run_inline
from penstock.execute.publish import plan_parts
from penstock.execute.session import Request, Session, open_session
from penstock.runs.record import RunRecord
from penstock.runs.verify import verify_run
from penstock.sandbox.launch import SandboxProcess

_OUTPUT = "outputs:\n  - uses: parquet\n    path: out/result\n"


class Bench:
    """A folder with a source and a pipeline, as a user has them, and runs of it without Prefect."""

    def __init__(self, folder: Path, server: SandboxProcess) -> None:
        self.folder = folder
        self.server = server
        self.file = folder / "pipeline.yaml"

    def rows(self, rows: list[dict[str, Any]]) -> None:
        pl.DataFrame(rows, infer_schema_length=None).write_csv(self.folder / "rows.csv")

    def texts(self, texts: list[str]) -> None:
        self.rows([{"id": number, "text": text} for number, text in enumerate(texts)])

    def pipeline(self, steps: str = "", *, provider: str = "", source: str = "", more: str = "") -> Path:
        """Write the pipeline: by default, the column `text` is embedded with 8 numbers by the module's sandbox."""
        steps = steps or 'uses: embed\ninput: "{{ text }}"\nmodel: text-embedding-3-small\ndimensions: 8'
        blocks = [block for block in textwrap.dedent(steps).strip().split("\n---\n") if block]
        listed = "\n".join(textwrap.indent(block, "    ").replace("    ", "  - ", 1) for block in blocks)
        self.file.write_text(
            "name: bench\n"
            "provider:\n"
            f"  base_url: {self.server.url}\n"
            "  api_key: ${BENCH_API_KEY}\n"
            f"{_indented(provider)}"
            "source:\n  path: rows.csv\n  key: id\n"
            f"{_indented(source)}"
            f"steps:\n{listed}\n"
            f"{_OUTPUT}"
            f"{textwrap.dedent(more)}"
        )
        return self.file

    def branched(
        self,
        steps: str,
        outputs: dict[str, str],
        *,
        source: str = "partition_rows: 4",
        provider: str = "",
        more: str = "",
    ) -> None:
        """Write the pipeline with one output per name of a step, at ``out/<name>``."""
        self.pipeline(steps, source=source, provider=provider, more=more)
        listed = "".join(
            f"  - uses: parquet\n    from: {step}\n    path: out/{name}\n" for name, step in outputs.items()
        )
        text = self.file.read_text()
        assert _OUTPUT in text
        self.file.write_text(text.replace(_OUTPUT, f"outputs:\n{listed}"))

    def proven(self, **request: Any) -> RunRecord:
        """A run whose account was proven again from its files."""
        with self.open(**request) as session:
            record = run_inline(session)
            outputs = [
                output.at(Path(one.path)) for output, one in zip(session.spec.outputs, record.outputs, strict=True)
            ]
            assert verify_run(record, plan_parts(session.plan, session.state), session.plan.ends, outputs) == []
        return record

    def open(self, **request: Any) -> Session:
        return open_session(Request(self.file, **request))

    def run(self, **request: Any) -> RunRecord:
        with self.open(**request) as session:
            return run_inline(session)

    def result(self) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "out" / "result")

    def errors(self, record: RunRecord) -> pl.DataFrame:
        assert record.errors_path is not None
        return pl.read_parquet(record.errors_path)


def _indented(text: str) -> str:
    return textwrap.indent(textwrap.dedent(text).rstrip() + "\n", "  ") if text else ""
