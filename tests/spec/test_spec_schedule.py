from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InputError, SpecError
from penstock.plan.make import make_plan
from penstock.spec import load
from penstock.spec.model import dump, restore
from penstock.spec.schedule import ScheduleSettings
from penstock.tables.state import State

HEAD = """\
name: nightly
source: {path: rows.csv, key: id}
outputs: [{uses: parquet, path: out}]
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text("id\n1\n")
    return tmp_path / "nightly.yaml"


def mistake(pipeline: Path, schedule: str) -> str:
    pipeline.write_text(HEAD + schedule)
    with pytest.raises(SpecError) as caught:
        load(pipeline)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0].render()


def test_a_schedule_is_read_with_its_time_zone(pipeline: Path) -> None:
    pipeline.write_text(HEAD + "schedule: {cron: '0 2 * * *', timezone: Europe/Berlin, catch_up: never}\n")
    spec = load(pipeline).spec
    assert spec.schedule == ScheduleSettings(cron="0 2 * * *", timezone="Europe/Berlin", catch_up="never")
    assert restore(dump(spec)).schedule == spec.schedule
    first = next(spec.schedule.times(datetime(2026, 7, 1, 12, tzinfo=UTC)))
    assert first == datetime(2026, 7, 2, 2, tzinfo=ZoneInfo("Europe/Berlin"))
    assert first.astimezone(UTC).hour == 0
    assert spec.schedule.in_words() == "At 02:00 every day (Europe/Berlin)"


@pytest.mark.parametrize(
    ("schedule", "place", "told"),
    [
        ("schedule: {cron: '0 25 * * *'}", "4:18", "the field hour of '0 25 * * *'"),
        ("schedule: {cron: '0 2 * *'}", "4:18", "4 of the five fields"),
        ("schedule: {cron: '0 0 2 * * *'}", "4:18", "6 of the five fields"),
        ("schedule: {cron: '@daily'}", "4:18", "write @daily as '0 0 * * *'"),
        ("schedule: {cron: '0 0 31 2 *'}", "4:18", "the field day of"),
        ("schedule: {every: 5s}", "4:19", "must be 10 or more"),
        ("schedule: {every: often}", "4:19", "is not a duration"),
        ("schedule:\n  cron: 0 2 * * *\n  timezone: Europe/Berln", "6:13", "did you mean Europe/Berlin?"),
        ("schedule:\n  cron: 0 2 * * *\n  catch_up: ones", "6:13", "one of 'once', 'never', 'each'"),
        ("schedule:\n  cron: 0 2 * * *\n  timezon: UTC", "6:3", "did you mean `timezone`?"),
        ("schedule: {timezone: UTC}", "4:11", "either `cron`"),
        ("schedule: {cron: '0 2 * * *', every: 6h}", "4:11", "either `cron`"),
        ("schedule: {every: 6h, timezone: UTC}", "4:11", "`timezone` belongs to `cron`"),
        ("schedule: nightly", "4:11", "must be a mapping"),
    ],
)
def test_a_wrong_schedule_is_told_at_its_place(pipeline: Path, schedule: str, place: str, told: str) -> None:
    rendered = mistake(pipeline, schedule)
    assert rendered.startswith(f"{pipeline}:{place}: ")
    assert told in rendered


moments = st.datetimes(datetime(2024, 2, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # made aware


@given(every=st.integers(10, 10**7), after=moments)
def test_every_keeps_its_distance_whenever_one_begins_to_count(every: int, after: datetime) -> None:
    schedule = ScheduleSettings(every=every)
    first, second, third = islice(schedule.times(after), 3)
    assert timedelta(0) < first - after <= timedelta(seconds=every)
    assert second - first == third - second == timedelta(seconds=every)
    assert next(schedule.times(after + (first - after) / 2)) == first


@given(hour=st.integers(0, 23), minute=st.integers(0, 59), after=moments)
def test_a_daily_time_comes_every_day_in_its_own_time_zone(hour: int, minute: int, after: datetime) -> None:
    schedule = ScheduleSettings(cron=f"{minute} {hour} * * *", timezone="America/New_York")
    first, second = islice(schedule.times(after), 2)
    assert first > after
    assert (second.date() - first.date()).days == 1


def test_a_key_may_be_named_as_a_secret_block_and_nothing_else_may(pipeline: Path) -> None:
    provider = "provider: {base_url: 'http://localhost:1/v1', api_key: '${prefect-secret:%s}'}\n"
    step = "steps: [{uses: embed, input: '{{ id }}', model: m, output: v}]\n"
    pipeline.write_text(HEAD + provider % "openai-key" + step)
    loaded = load(pipeline, environ={})
    assert (loaded.spec.key_blocks, loaded.spec.key_variables) == (["openai-key"], [])
    assert loaded.missing_key({}) is None
    for name in ("Openai_Key", "", "a b"):
        pipeline.write_text(HEAD + provider % name + step)
        with pytest.raises(SpecError, match="a-z, 0-9 and - only"):
            load(pipeline, environ={})
    assert "only `api_key` may name a Secret block of Prefect, and a source's whole `uri`" in mistake(
        pipeline, "description: ${prefect-secret:openai-key}\n"
    )


@pytest.mark.parametrize(
    "where",
    ["uri: '${prefect-secret:shop-db}'", "uri: 'postgresql://a@b/c', password: '${prefect-secret:shop-db}'"],
    ids=["address", "password"],
)
def test_a_source_may_name_a_secret_block_which_is_read_by_runs_only(
    pipeline: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No run has offered them in this process: those of other tests may have.
    monkeypatch.setattr("penstock.secrets._places", {})
    pipeline.write_text(
        f"name: shop\nsource: {{sql: select id from t, key: id, {where}}}\n"
        "steps: [{uses: filter, where: id > 1}]\noutputs: [{uses: parquet, path: out}]\n"
    )
    loaded = load(pipeline, environ={})
    assert loaded.spec.source_blocks == ["shop-db"]
    assert "the Secret block 'shop-db' is read by runs only, so columns were not checked" in loaded.notes[0]
    with pytest.raises(InputError, match=r"source\.\w+: the Prefect Secret block 'shop-db' is read by runs only"):
        make_plan(loaded, state=State.of(pipeline, "shop"))
    pipeline.write_text(pipeline.read_text().replace("${prefect-secret:shop-db}", "x${prefect-secret:shop-db}"))
    with pytest.raises(SpecError):
        load(pipeline, environ={})
