"""What a pipeline that trains a model will upload, start and cost, told before anything is paid."""

from __future__ import annotations

import json
import random

import pytest
from plan_bench import PlanBench

from penstock.cli.plan import as_dict, described
from penstock.cli.run import announced
from penstock.outputs import Bill
from penstock.spec import load

TWICE = "upload: always\njob: {hyperparameters: {n_epochs: 2}}"
CHAT = "uses: chat\nid: reply\nmodel: gpt-4o-mini\nprompt: '{{ text }}'\nmax_tokens: 20\noutput: reply"


def _bill(bench: PlanBench, **options: object) -> Bill:
    (bill,) = bench.plan(counted=True, **options).bills
    return bill


def _told(bill: Bill) -> dict[str, str]:
    lines = list(described(bill))
    return {words[0]: " ".join(words[1:]) for line in lines[1:] if (words := line.split())} | {
        "first": lines[0].strip()
    }


def _written(bench: PlanBench) -> dict[str, int]:
    """Tokens of an epoch as the output itself counts them when it is written."""
    import polars as pl

    rows = bench.folder / "rows.parquet"
    pl.read_csv(bench.folder / "rows.csv").write_parquet(rows)
    (output,) = load(bench.file).spec.outputs
    output.prepare([rows], ["id"], bench.folder / "scratch")
    manifest = json.loads((bench.folder / "scratch" / "manifest.json").read_text())
    return {**manifest["cost"], "examples": manifest["sets"]["train"]["lines"]}


def test_what_is_trained_on_is_counted_as_it_will_be_written(bench: PlanBench) -> None:
    bench.rows(40)
    bench.tune(TWICE)
    bill, cost = _bill(bench), _written(bench)
    assert (bill.uploads, bill.job, bill.epochs, bill.exact) == ("always", True, 2, True)
    assert bill.examples == cost["examples"] == 40
    assert bill.tokens_least == bill.tokens_most == 2 * cost["tokens_per_epoch"]
    assert bill.usd_least == bill.usd_most == pytest.approx(2 * cost["tokens_per_epoch"] * 3 / 1e6)
    told = _told(bill)
    assert told["first"] == (f"{bill.path} is uploaded at the end of the run and trains gpt-4o-mini-2024-07-18")
    assert told["epochs"] == "2"
    assert told["price"].startswith("$3.00 for a million tokens trained on (typed in from memory on 2026-11-22")
    assert told["tokens"] == f"{2 * cost['tokens_per_epoch']:,}"
    assert as_dict(bench.plan(counted=True))["bills"][0]["tokens_most"] == 2 * cost["tokens_per_epoch"]


def test_rows_that_make_no_example_and_other_sets_are_not_counted(bench: PlanBench) -> None:
    lines = [f"{n},{'text ' + str(n) if n % 10 else ' '},{'train' if n % 4 else 'other'}\n" for n in range(60)]
    (bench.folder / "rows.csv").write_text("id,text,part\n" + "".join(lines))
    bench.tune(TWICE + "\nsets: [train, other]\nset_column: part")
    bill, cost = _bill(bench), _written(bench)
    assert (bill.examples, bill.tokens_most) == (cost["examples"], 2 * cost["tokens_per_epoch"])
    assert cost["examples"] == 42


def test_conversations_are_counted_as_such(bench: PlanBench) -> None:
    bench.rows(40)
    said = (
        '[{role: system, content: "Be brief."}, {role: user, content: "{{ id }}"}, '
        '{role: assistant, content: "{{ text }}"}]'
    )
    bench.tune(f"{TWICE}\nconversation: {{by: topic}}\nmessages: {said}")
    text = (bench.folder / "rows.csv").read_text().splitlines()
    rows = [f"{line},{place % 7}" for place, line in enumerate(text[1:])]
    (bench.folder / "rows.csv").write_text("\n".join([f"{text[0]},topic", *rows]) + "\n")
    bill, cost = _bill(bench), _written(bench)
    assert (bill.examples, bill.tokens_most) == (7, 2 * cost["tokens_per_epoch"])


def test_left_to_choose_the_service_takes_the_epochs_of_its_rule(bench: PlanBench) -> None:
    bench.rows(40)
    bench.tune("upload: ask\njob: {}")
    bill, cost = _bill(bench), _written(bench)
    assert (bill.epochs, bill.expected_epochs, bill.tokens_most) == (None, 3, 3 * cost["tokens_per_epoch"])
    told = _told(bill)
    assert told["epochs"] == "the service chooses; 3 by its published rule"
    assert "if somebody at a terminal agrees" in told["first"]


def test_of_rows_that_may_be_dropped_it_is_at_most(bench: PlanBench) -> None:
    bench.rows(40)
    bench.tune(TWICE, CHAT, "uses: filter\nwhere: reply = 'yes'")
    bill, cost = _bill(bench), _written(bench)
    assert (bill.tokens_least, bill.usd_least, bill.tokens_most) == (None, None, 2 * cost["tokens_per_epoch"])
    told = _told(bill)
    assert told["tokens"] == f"at most {2 * cost['tokens_per_epoch']:,}"
    assert told["dollars"].startswith("at most $0.0")
    bench.tune("upload: always\njob: {}", CHAT, "uses: filter\nwhere: reply = 'yes'")
    assert (_bill(bench).tokens_most or 0) >= 3 * cost["tokens_per_epoch"]


def test_what_answers_teach_is_unknown_and_never_nothing(bench: PlanBench) -> None:
    bench.rows(40)
    said = 'messages: [{role: user, content: "{{ text }}"}, {role: assistant, content: "{{ reply }}"}]'
    bench.tune(f"{TWICE}\n{said}", CHAT)
    bill = _bill(bench)
    assert (bill.examples, bill.tokens_least, bill.tokens_most, bill.usd_least, bill.usd_most) == (None,) * 5
    told = _told(bill)
    assert (told["tokens"], told["dollars"], told["examples"]) == ("unknown",) * 3


def test_an_unknown_price_of_training_is_unknown_and_ones_own_goes_first(bench: PlanBench) -> None:
    bench.rows(40)
    bench.tune(TWICE + "\nmodel: some-model")
    bill = _bill(bench)
    assert bill.tokens_most is not None
    assert (bill.usd_most, bill.usd_per_million) == (None, None)
    told = _told(bill)
    assert (told["price"], told["dollars"]) == ("unknown", "unknown")
    bench.tune(TWICE + "\nmodel: some-model\nprice: 7")
    bill = _bill(bench)
    assert bill.usd_most == pytest.approx((bill.tokens_most or 0) * 7 / 1e6)
    assert _told(bill)["price"] == "$7.00 for a million tokens trained on (as the pipeline says)"


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("0.0000001", "costs more than the budget of $0.0000001"),
        ("50", "one that costs more than is left is not started"),
    ],
    ids=["too-little", "enough"],
)
def test_the_plan_says_what_the_budget_means_for_the_job(bench: PlanBench, budget: str, said: str) -> None:
    bench.rows(40)
    bench.tune(TWICE, more=f"budget: {{usd: {budget}}}\n")
    assert said.replace("$0.0000001", "under $0.000001") in _bill(bench).notes[-1]


def test_a_large_source_is_sampled_within_a_few_percent(bench: PlanBench) -> None:
    chance = random.Random(3)
    lines = [f"{n},{'word ' * chance.randint(1, 30)}\n" for n in range(30_000)]
    (bench.folder / "rows.csv").write_text("id,text\n" + "".join(lines))
    bench.tune(TWICE)
    about, exact = _bill(bench), _bill(bench, every_row=True)
    assert (about.exact, exact.exact) == (False, True)
    assert about.tokens_most == pytest.approx(exact.tokens_most, rel=0.05)
    assert about.examples == pytest.approx(30_000, rel=0.01)
    assert _told(about)["tokens"].startswith("about ")


def test_of_the_first_rows_nothing_is_uploaded_and_without_a_job_nothing_is_trained(bench: PlanBench) -> None:
    bench.rows(40)
    bench.tune(TWICE)
    assert "so nothing is uploaded and no job is started" in _bill(bench, limit=20).notes[-1]
    bench.tune("upload: always")
    assert _told(_bill(bench))["first"].endswith("is uploaded at the end of the run; no job is started")
    bench.tune("upload: never")
    assert bench.plan(counted=True).bills == ()


def test_a_run_does_not_count_what_only_a_plan_is_asked_for(bench: PlanBench) -> None:
    bench.rows(40)
    bench.tune(TWICE)
    (bill,) = bench.plan().bills
    assert (bill.job, bill.epochs, bill.usd_per_million, bill.tokens_most) == (True, 2, 3.0, None)


def test_a_run_that_begins_announces_what_it_will_bring_to_a_server(bench: PlanBench) -> None:
    bench.rows(40)
    bench.tune(TWICE)
    (bill,) = bench.plan().bills
    first, *rest = announced(bill)
    assert first == f"{bill.path} is uploaded at the end of the run and trains {bill.model}, see `penstock plan`"
    assert [line.split()[0] for line in rest] == ["epochs", "price"]
