"""What `penstock deploy` refuses before anything is told to a server, and how a run finds its pipeline."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from stand_in import pipeline_file

from penstock.errors import InputError, SpecError, UsageError
from penstock.flow import entry
from penstock.flow.deployments import Wish, deploy
from penstock.flow.rest import Api
from penstock.secrets import PREFECT_SECRET, Secret

NOBODY = Api("http://127.0.0.1:9/api")
SCHEDULE = {"every": "1h"}


def loaded(folder: Path, given: dict[str, str] | None = None, **more: Any) -> Any:
    from penstock.flow.compile import read_pipeline

    return read_pipeline(pipeline_file(folder, **more), given)


def test_a_scheduled_run_must_not_lack_a_parameter(tmp_path: Path) -> None:
    one = loaded(tmp_path, schedule=SCHEDULE, params={"day": {"type": "date"}})
    with pytest.raises(UsageError, match="'day' has no default, and a scheduled run can ask nobody"):
        deploy(NOBODY, one, Wish())


def test_a_key_is_refused_as_a_value_of_a_parameter(tmp_path: Path) -> None:
    key = "sk-" + "a1B2" * 8
    with pytest.raises(SpecError, match="looks like an API key") as caught:
        loaded(tmp_path, {"note": key}, params={"note": ""})
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["deploy", "stand_in.yaml"], "schedules need a Prefect server, and none is configured"),
        (["serve", "stand_in.yaml"], "schedules need a Prefect server, and none is configured"),
        (["deploy", "stand_in.yaml", "other.yaml", "-p", "a=b"], "-p is for one pipeline file"),
        (["deploy", "stand_in.yaml", "-p", "a"], "-p takes NAME=VALUE"),
    ],
)
def test_deploy_says_what_it_lacks_without_importing_prefect(home: Path, words: list[str], told: str) -> None:
    pipeline_file(home.parent)
    code = "import sys\nfrom penstock.cli import main\ntry: main()\nfinally: assert 'prefect' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_the_pull_step_names_the_pipeline_that_the_entrypoint_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_PIPELINE", "")
    monkeypatch.setenv("PENSTOCK_STATE", "")
    with pytest.raises(InputError, match="loaded after the pull step"):
        _ = entry.pipeline
    file = pipeline_file(tmp_path, name="found")
    assert entry.use_pipeline(str(file), state="/state") == {"directory": str(tmp_path)}
    assert entry.pipeline.name == "found"
    with pytest.raises(InputError, match="--worker-folder"):
        entry.use_pipeline(str(tmp_path / "gone.yaml"))
    with pytest.raises(AttributeError):
        _ = entry.pipelines


def test_a_source_on_another_machine_is_not_asked_when_a_pipeline_is_deployed(tmp_path: Path) -> None:
    for source in (
        {"path": "s3://bucket/rows.csv", "key": "id"},
        {"sql": "select 1 as id", "uri": "postgresql://me@127.0.0.1:9/x", "key": "id"},
    ):
        one = loaded(tmp_path, source=source, steps=[{"uses": "filter", "where": "id > 0"}])
        assert one.notes == ("the source is not on this machine, so columns were not checked",)


def test_a_secret_block_is_read_by_runs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock import secrets

    monkeypatch.setattr(secrets, "_places", {})
    with pytest.raises(InputError, match="'openai-key' is read by runs only"):
        Secret("openai-key", PREFECT_SECRET).reveal()
    secrets.offer_place(PREFECT_SECRET, lambda name: f" of-{name}-5521 ")
    secret = Secret("openai-key", PREFECT_SECRET)
    assert secret.reveal() == "of-openai-key-5521"
    assert "5521" not in repr(secret)
    assert secrets.redact("with of-openai-key-5521") == "with ***"
