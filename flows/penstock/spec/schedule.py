"""The `schedule:` key: when a deployment runs by itself, and what becomes of times that were missed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from penstock.values import Duration, format_duration

ANCHOR = datetime(2024, 1, 1, tzinfo=UTC)
"""`every` counts from here, a midnight and a Monday, so that deploying again never shifts a schedule."""
_SHORTEST = 10.0
_FIELDS = "minute hour day month weekday"
_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def _cron(text: str) -> str:
    from cronsim import CronSim, CronSimError

    parts = text.split()
    if meant := _ALIASES.get(text.strip().lower()):
        raise ValueError(f"write {text.strip()} as {meant!r}: {_FIELDS}")
    if len(parts) != 5:
        raise ValueError(
            f"{text!r} has {len(parts)} of the five fields, {_FIELDS}; write it like '0 2 * * *' (at 2:00)"
        )
    try:
        next(CronSim(text, ANCHOR))
    except CronSimError as error:
        field = str(error).removeprefix("Bad ").replace("day-of-month", "day").replace("day-of-week", "weekday")
        raise ValueError(f"the field {field} of {text!r} is wrong; write it like '0 2 * * *' ({_FIELDS})") from None
    except StopIteration:
        raise ValueError(f"{text!r} names a day that never comes") from None
    return " ".join(parts)


def _timezone(name: str) -> str:
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        from penstock.spec.references import nearest

        meant = nearest(name, sorted(available_timezones()))
        hint = f"did you mean {meant}?" if meant else "write it like Europe/Berlin or UTC"
        raise ValueError(f"there is no time zone {name!r}; {hint}") from None
    return name


class ScheduleSettings(BaseModel):
    """When the pipeline runs by itself, once `penstock deploy` or `penstock serve` has told a Prefect server."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    cron: Annotated[str, AfterValidator(_cron), WithJsonSchema({"type": "string"})] | None = Field(
        default=None,
        description="The times as five fields: minute, hour, day of the month, month, day of the week (0 is Sunday).",
        examples=["0 2 * * *", "*/15 8-18 * * MON-FRI"],
    )
    every: Duration | None = Field(
        default=None,
        ge=_SHORTEST,
        description=(
            "The time from one start to the next, in place of `cron`, counted from midnight UTC: `6h` is at 0, 6, 12 "
            "and 18 o'clock UTC."
        ),
        examples=["6h", "15m"],
    )
    timezone: Annotated[str, AfterValidator(_timezone), WithJsonSchema({"type": "string"})] | None = Field(
        default=None,
        description="The time zone that `cron` is meant in, by its IANA name; UTC if left out.",
        examples=["Europe/Berlin"],
    )
    catch_up: Literal["once", "never", "each"] = Field(
        default="once",
        description=(
            "What becomes of times that were missed because server or worker was down, or the run before took too "
            "long: one run makes up for all of them (`once`), they are left out (`never`), or each is run, one after "
            "the other (`each`)."
        ),
        examples=["once"],
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.cron is None) == (self.every is None):
            raise ValueError("give either `cron`, such as '0 2 * * *', or `every`, such as 6h")
        if self.every is not None and self.timezone is not None:
            raise ValueError("`timezone` belongs to `cron`: `every` counts days of 24 hours, in any time zone")
        return self

    def times(self, after: datetime) -> Iterator[datetime]:
        """The times of the schedule after a moment, in its own time zone, without end."""
        if self.every is not None:
            step = timedelta(seconds=self.every)
            moment = ANCHOR + step * ((after - ANCHOR) // step)
            while True:
                moment += step
                yield moment
        from zoneinfo import ZoneInfo

        from cronsim import CronSim

        yield from CronSim(self.cron or "", after.astimezone(ZoneInfo(self.timezone or "UTC")))

    def in_words(self) -> str:
        """For people: ``At 02:00 every day (Europe/Berlin)``."""
        if self.every is not None:
            return f"every {format_duration(self.every)}"
        from cronsim import CronSim

        return f"{CronSim(self.cron or '', ANCHOR).explain()} ({self.timezone or 'UTC'})"
