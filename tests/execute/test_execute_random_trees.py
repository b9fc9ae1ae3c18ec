"""Whatever the steps, their order and what goes wrong: each row has one fate, and nothing is asked twice."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import polars as pl
import pytest
from execute_bench import Bench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_trees import KINDS, TEXTS, Tree, beside, trees

from penstock.errors import RunStopped
from penstock.faults import FAULTS
from penstock.runs.record import RunRecord
from penstock.steps import KINDS as STEPS
from penstock.steps import ApiStep

EXAMPLES = int(os.environ.get("PENSTOCK_TREES", "50"))
_FOLDERS = itertools.count()
_PATIENT = "retry: {attempts: 3, max_wait: 20ms}\ntimeout: {connect: 2s, read: 300ms, total: 900ms}"
_NEVER_ENDS = {"hang", "slow"}
"""Faults that last until a time-out: one of them at a time, so that an example stays short."""


def test_every_kind_of_step_is_drawn() -> None:
    assert set(KINDS) == set(STEPS), "a new kind needs settings in `random_trees.KINDS`"


def faults() -> st.SearchStrategy[list[str]]:
    """Rules of the sandbox: one fault a few times or for a share of the requests, or two of them."""
    few = st.builds("{}:x{}".format, st.sampled_from(sorted(FAULTS)), st.integers(1, 4))
    often = st.builds("{}:{}%".format, st.sampled_from(sorted(FAULTS.keys() - _NEVER_ENDS)), st.sampled_from([30, 100]))
    once = st.lists(st.builds("{}:x1".format, st.sampled_from(sorted(FAULTS))), min_size=2, max_size=2)
    return st.just([]) | st.builds(lambda rule: [rule], few | often) | once


@pytest.mark.slow
@given(
    tree=trees(),
    texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=12),
    rows=st.integers(1, 7),
    fault=faults(),
    everywhere=st.booleans(),
)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_the_steps_and_faults_each_row_has_one_fate(  # noqa: PLR0917  # what is drawn
    bench: Bench, tree: Tree, texts: list[str], rows: int, fault: list[str], everywhere: bool
) -> None:
    """In one run with faults, and in one more without them, which asks only what has no answer yet."""
    here = Bench(bench.folder / str(next(_FOLDERS)), bench.server)
    beside(here.folder)
    here.texts(texts)
    ends = ["source", *tree.parents] if everywhere else tree.ends
    here.branched(
        tree.steps,
        {name: name for name in ends},
        provider=_PATIENT,
        source=f"partition_rows: {rows}\ntypes: {{text: string}}",
        more="errors: {stop_above: 100%}\n",
    )
    here.server.change(poison=["POISON"], faults=fault)
    here.server.reset()
    try:
        _holds(here, here.proven(), tree, ends, len(texts))
    except RunStopped:
        if not fault:
            raise
    here.server.change(poison=[], faults=[])
    after = here.proven()
    _holds(here, after, tree, ends, len(texts))
    again = here.proven()
    assert again.usage.requests == 0, "what has an answer is not asked again"
    assert again.account == after.account


def _holds(bench: Bench, record: RunRecord, tree: Tree, ends: list[str], read: int) -> None:
    account = record.account
    assert account is not None
    assert account.read == read
    came = account.read + account.added + account.branched
    assert came == account.written + account.filtered + account.merged + account.failed
    errors = bench.errors(record) if record.errors_path else pl.DataFrame({"step": [], "cause": []})
    assert len(errors) == account.failed
    assert set(errors["step"]) <= {"source", *tree.parents}
    out = dict(zip(ends, account.outputs, strict=True))
    for name, rows in out.items():
        table = pl.read_parquet(bench.folder / "out" / name)
        assert len(table) == rows
        if (keys := tree.keys[name]) is not None:
            assert table.select(keys).n_unique() == rows, f"rows of {name} are named twice"
    for name, before in tree.parents.items():
        if before in out and name in out:
            _step_holds(name, out[before], out[name], record, errors)


def _step_holds(name: str, came: int, went: int, record: RunRecord, errors: pl.DataFrame) -> None:
    """The account of one step, whose rows before and after it were written out: rows in = out and all the others."""
    assert record.account is not None
    (segment,) = (one for one in record.account.segments if one.segment == name)
    failed = errors.filter(pl.col("step") == name).height
    gone = segment.filtered.get(name, 0) + segment.merged + failed
    assert came + segment.added == went + gone


PAYING = frozenset(name for name, kind in STEPS.items() if issubclass(kind, ApiStep))


@pytest.mark.slow
@given(
    tree=trees(kinds=frozenset(KINDS) - PAYING),
    texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=12),
    rows=st.integers(1, 7),
)
@settings(max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=list(HealthCheck))
def test_results_do_not_depend_on_where_segments_are_cut(bench: Bench, tree: Tree, texts: list[str], rows: int) -> None:
    tables: list[list[pl.DataFrame]] = []
    for ends in (tree.ends, ["source", *tree.parents]):
        here = Bench(bench.folder / str(next(_FOLDERS)), bench.server)
        beside(here.folder)
        here.texts(texts)
        more = "errors: {stop_above: 100%}\n"
        here.branched(
            tree.steps,
            {name: name for name in ends},
            source=f"partition_rows: {rows}\ntypes: {{text: string}}",
            more=more,
        )
        here.run()
        tables.append([pl.read_parquet(Path(here.folder, "out", name)) for name in tree.ends])
    for one, other in zip(*tables, strict=True):
        assert one.equals(other)
