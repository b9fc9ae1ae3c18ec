"""What the job of a written folder costs: tokens, epochs and price are known exactly before it is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.errors import BudgetSpent
from penstock.values import format_usd


@dataclass(frozen=True, slots=True)
class JobCost:
    """What a job comes to.

    Attributes:
        epochs: as the pipeline says, else by the service's published rule.
        chosen: whether the service chooses them, so that it may take others.
        tokens: billed, of all epochs.
        usd: None where the price is not known.
    """

    epochs: int
    chosen: bool
    tokens: int
    usd: float | None

    def words(self) -> str:
        """For a question or a note: epochs, tokens and dollars."""
        by = ", if the service chooses as it says it does" if self.chosen else ""
        epochs = f"{self.epochs} epoch{'' if self.epochs == 1 else 's'}{by}"
        usd = "price unknown" if self.usd is None else f"about {format_usd(self.usd)}"
        return f"{epochs}: {self.tokens:,} tokens, {usd}"


def cost_of(manifest: Mapping[str, Any]) -> JobCost | None:
    """The cost of the manifest's job; None where there is no job, or tokens were not counted."""
    cost, job = manifest["cost"], manifest["job"]
    if cost is None or job is None:
        return None
    given = job["hyperparameters"]["n_epochs"]
    epochs = cost["epochs"] if given == "auto" else given
    per_epoch = cost["usd_per_epoch"]
    return JobCost(
        epochs, given == "auto", epochs * cost["tokens_per_epoch"], None if per_epoch is None else epochs * per_epoch
    )


def check_budget(manifest: Mapping[str, Any], usd_left: float | None, go_on: str) -> None:
    """Whether the job fits into what the pipeline may still spend; to be asked right before it is created.

    Args:
        usd_left: None for any amount.
        go_on: the command that starts it all the same.

    Raises:
        BudgetSpent: it does not, or nobody knows.
    """
    if usd_left is None:
        return
    cost = cost_of(manifest)
    then = f"the uploaded files stay; raise `budget` and resume, or allow this job alone with: {go_on}"
    if cost is None or cost.usd is None:
        raise BudgetSpent(
            f"the price of training {manifest['model']} is not known and the budget has {format_usd(usd_left)} left, "
            f"so no job was started; give the `price` of the output, or leave the budget out; {then}"
        )
    if cost.usd > usd_left:
        raise BudgetSpent(
            f"training {manifest['model']} costs about {format_usd(cost.usd)} ({cost.tokens:,} tokens) and the budget "
            f"has {format_usd(usd_left)} left, so no job was started; {then}"
        )
