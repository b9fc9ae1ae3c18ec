"""A pipeline and its source in a folder, and the plans of it. Nothing is ever sent."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from penstock.plan.make import make_plan
from penstock.plan.model import Plan
from penstock.spec import load
from penstock.tables.failures import RowError, error_frame
from penstock.tables.state import State

EMBED = 'uses: embed\ninput: "{{ text }}"\nmodel: text-embedding-3-small\ndimensions: 8'


class PlanBench:
    """By default the column `text` of rows.csv is embedded by a provider that does not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "p.yaml"
        self.state = State(folder / ".penstock", "bench")

    def rows(self, count: int, text: str = "row {} of a table") -> None:
        lines = [f"{number},{text.format(number)}\n" for number in range(count)]
        (self.folder / "rows.csv").write_text("id,text\n" + "".join(lines))

    def write(self, *steps: str, provider: str = "", source: str = "", more: str = "", **words: str) -> None:
        listed = "".join(textwrap.indent(step, "    ").replace("    ", "  - ", 1) + "\n" for step in steps or (EMBED,))
        text = (
            f"name: {words.get('name', 'bench')}\n"
            f"provider:\n  base_url: {words.get('url', 'http://127.0.0.1:9/v1')}\n  api_key: ${{BENCH_KEY}}\n"
            f"{textwrap.indent(provider, '  ')}\n"
            f"source:\n  path: {words.get('path', 'rows.csv')}\n{textwrap.indent(source or 'key: id', '  ')}\n"
            f"steps:\n{listed}outputs:\n  - uses: parquet\n    path: out/result\n{more}"
        )
        self.file.write_text(text if words.get("steps") != "none" else text.replace(f"steps:\n{listed}", "steps: []\n"))

    def tune(self, output: str, *steps: str, more: str = "") -> None:
        """Write the pipeline with a `finetune` output of these settings; `text` is what is learnt, `id` is asked."""
        self.write(*(steps or ("uses: filter\nwhere: id >= 0",)), more=more)
        text = self.file.read_text()
        said = 'messages: [{role: user, content: "What is {{ id }}?"}, {role: assistant, content: "{{ text }}"}]\n'
        given = textwrap.dedent(output) if "messages" in output else said + textwrap.dedent(output)
        settings = f"uses: finetune\npath: out/model\n{given}"
        settings = settings if "model:" in output else f"{settings}\nmodel: gpt-4o-mini-2024-07-18\n"
        listed = textwrap.indent(settings, "    ").replace("    ", "  - ", 1)
        self.file.write_text(text.replace("  - uses: parquet\n    path: out/result\n", f"{listed}\n"))

    def plan(self, **options: Any) -> Plan:
        return make_plan(load(self.file), state=self.state, **options)

    def names(self) -> list[dict[str, str]]:
        """The fingerprints of each partition."""
        return [dict(partition.fingerprints) for partition in self.plan().partitions]

    def finish(self, plan: Plan, segment: str, partition: int, failures: dict[str, int] | None = None) -> None:
        """Leave the part that a task would leave."""
        import pyarrow as pa

        from penstock.tables.parts import write_part

        files = self.state.part_files(segment, plan.partitions[partition].fingerprints[segment])
        failed = sum((failures or {}).values())
        read = plan.partitions[partition].rows
        counts = {
            "segment": segment, "partition": partition, "read": read, "written": read - failed, "filtered": {},
            "merged": {}, "added": {}, "failed": failed, "failures": failures or {}, "made": f"{segment}-{partition}",
            "of": [f"{before}-{partition}" for before in [plan.segment(segment).reads] if before],
        }  # fmt: skip
        table = pa.table({"id": pa.array(range(read - failed))})
        write_part(files.part, iter([table]), table.schema, lambda: counts)
        if failed:
            error_frame([RowError(0, segment, cause, "") for cause in failures or {}], {}, partition).write_parquet(  # type: ignore[arg-type]
                files.errors
            )
