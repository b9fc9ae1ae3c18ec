"""`provider:`, its keys, and that no key is ever shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spec_pipelines import HEAD, TAIL

from penstock.api.provider import Limits, RetryPolicy, Timeouts
from penstock.errors import InputError, Problem, SpecError
from penstock.secrets import Secret
from penstock.spec import load
from penstock.spec.provider import SandboxSettings

Load = Callable[..., Any]
Mistakes = Callable[..., list[Problem]]

EMBED = 'steps: [{uses: embed, input: "{{ body }}", model: m}]\n'


def pipeline(provider: str) -> str:
    return HEAD.replace("provider: sandbox", f"provider: {provider}") + EMBED + TAIL


def test_openai_is_the_mapping_with_its_defaults(load_yaml: Load) -> None:
    provider = load_yaml(pipeline("openai")).spec.provider.to_provider("openai")
    assert provider.base_url == "https://api.openai.com/v1"
    assert provider.api_key == Secret("OPENAI_API_KEY")
    assert (provider.organization, provider.project) == (None, None)
    assert (provider.limits, provider.retry, provider.timeouts) == (Limits(), RetryPolicy(), Timeouts())


def test_the_environment_says_where_openai_is_and_who_pays(load_yaml: Load) -> None:
    environ = {"OPENAI_BASE_URL": "http://proxy/v1/", "OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "p"}
    provider = load_yaml(pipeline("openai"), environ=environ).spec.provider.to_provider("openai")
    assert (provider.base_url, provider.organization, provider.project) == ("http://proxy/v1", "org-1", "p")


def test_a_mapping_sets_everything(load_yaml: Load) -> None:
    text = pipeline("""
  base_url: ${HOST:-http://localhost:8000/v1}
  api_key: ${VLLM_KEY}
  organization: ${ORG:-}
  project: p
  limits: {concurrency: 64, requests_per_minute: 5k, tokens_per_minute: 2_000_000}
  retry: {attempts: 3, max_wait: 1m}
  timeout: {connect: 1s, read: 2s, total: 3s}
  prices: {m: {input: 0.02, output: 1, cached: 0.01}}
""")
    settings = load_yaml(text).spec.provider
    provider = settings.to_provider("vllm")
    assert provider.base_url == "http://localhost:8000/v1"
    assert provider.api_key == Secret("VLLM_KEY")
    assert (provider.organization, provider.project) == (None, "p")
    assert provider.limits == Limits(64, 5000, 2_000_000)
    shared = load_yaml(pipeline("{limits: {requests_per_minute: 600, shared: prefect}}")).spec.provider
    assert shared.limits.as_limits == Limits(requests_per_minute=600, shared=True)
    assert provider.retry == RetryPolicy(3, 60)
    assert provider.timeouts == Timeouts(1, 2, 3)
    assert settings.prices["m"].input == 0.02
    assert settings.to_provider("x", base_url="http://other/v1/").base_url == "http://other/v1"


def test_openais_key_goes_only_to_openai(load_yaml: Load) -> None:
    other = load_yaml(pipeline("{base_url: 'http://localhost:11434/v1'}"))
    assert other.spec.provider.to_provider("ollama").api_key is None
    assert other.missing_key({}) is None
    own = load_yaml(pipeline("{base_url: 'https://api.openai.com/v1'}"))
    assert own.spec.provider.to_provider("openai").api_key == Secret("OPENAI_API_KEY")
    limited = load_yaml(pipeline("{limits: {concurrency: 2}}"))
    assert limited.spec.provider.key_variable == "OPENAI_API_KEY"


def test_the_sandbox_rehearses_faults(load_yaml: Load) -> None:
    text = pipeline("""
  uses: sandbox
  faults: [429:5%, '500:x3', 429-bare:0.1]
  latency: 50ms..80ms
  seed: 7
  limits: {concurrency: 4}
""")
    settings = load_yaml(text).spec.provider
    assert isinstance(settings, SandboxSettings)
    assert settings.faults == ["429:5%", "500:x3", "429-bare:0.1"]
    assert (settings.latency, settings.seed) == ("50ms..80ms", 7)
    provider = settings.to_provider("sandbox", "http://127.0.0.1:5/v1")
    assert (provider.api_key, provider.limits.concurrency) == (Secret("PENSTOCK_SANDBOX_KEY"), 4)
    with pytest.raises(ValueError, match="no address"):
        settings.to_provider("sandbox")


def test_the_command_line_replaces_the_provider_and_asks_for_none_of_its_variables(load_yaml: Load) -> None:
    text = pipeline("{base_url: '${HOST}', api_key: '${X_KEY}'}")
    assert load_yaml(text, provider="sandbox").spec.provider == SandboxSettings()
    rehearsal = pipeline("{uses: sandbox, latency: 5ms}")
    assert load_yaml(rehearsal, provider="sandbox").spec.provider.latency == "5ms"
    assert load_yaml(rehearsal, provider="openai").spec.provider.key_variable == "OPENAI_API_KEY"


def test_a_missing_key_is_told_before_a_run_and_is_no_mistake_of_the_file(load_yaml: Load) -> None:
    loaded = load_yaml(pipeline("openai"))
    with pytest.raises(InputError, match="OPENAI_API_KEY is not set"):
        loaded.check_environment({})
    loaded.check_environment({"OPENAI_API_KEY": "x"})
    load_yaml(pipeline("sandbox")).check_environment({})


def test_a_pipeline_without_api_steps_needs_no_provider_and_no_key(load_yaml: Load) -> None:
    loaded = load_yaml(HEAD.replace("provider: sandbox\n", "") + TAIL)
    assert loaded.spec.provider is None
    loaded.check_environment({})
    load_yaml(HEAD.replace("sandbox", "openai") + TAIL).check_environment({})


def test_a_step_that_asks_a_model_needs_a_provider(mistakes: Mistakes) -> None:
    found = mistakes(HEAD.replace("provider: sandbox\n", "") + EMBED + TAIL)
    assert [problem.message for problem in found] == ["this step asks a model, and the pipeline has no `provider`"]


@pytest.mark.parametrize(
    ("provider", "message", "hint"),
    [
        ("sandbx", "there is no provider `sandbx`", "did you mean `sandbox`?"),
        ("{uses: azure}", "there is no provider `azure`", "another server"),
        ("[sandbox]", "must be sandbox, openai or a mapping", ""),
        ("", "must be sandbox, openai or a mapping", ""),
        ("{base_url: 'ftp://x/v1'}", "not a web address", ""),
        ("{base_url: localhost}", "not a web address", ""),
        ("{base_url: 'http://x/v1?a=b'}", "must end with the path", ""),
        ("{base_url: 'http://x:99999/v1'}", "not a web address", ""),
        ("{base_url: 5}", "`base_url` must be text", ""),
        ("{limits: {requests_per_minute: 0}}", "`requests_per_minute` must be 1 or more", ""),
        ("{limits: {concurrency: 4, shared: prefect}}", "`shared` needs the rates that are shared", ""),
        ("{limits: {requests_per_minute: 9, shared: prefekt}}", "'prefekt'", ""),
        ("{retry: {attempts: 0}}", "`attempts` must be 1 or more", ""),
        ("{timeout: {total: 0s}}", "`total` must be more than 0", ""),
        ("{prices: {m: {output: 1}}}", "give a price: input, minute, characters or image", ""),
        ("{prices: {m: {input: -1}}}", "`input` must be 0 or more", ""),
        ("{prices: {m: {input: .nan}}}", "must be a finite number", ""),
        ("{uses: sandbox, api_key: '${X_KEY}'}", "unknown key `api_key`", ""),
        ("{uses: sandbox, faults: [often]}", "there is no fault named 'often'", ""),
        ("{uses: sandbox, faults: ['timeout:x1']}", "there is no fault named 'timeout'. Allowed are: 400, 401", ""),
        ("{uses: sandbox, faults: ['429-bear:5%']}", "Did you mean 429-bare?", ""),
        ("{uses: sandbox, faults: ['429:5%', '500:often']}", "write 500:5% for a share of the requests", ""),
        ("{uses: sandbox, faults: ['429:60%', '500:50%']}", "add up to 110%", ""),
        ("{uses: sandbox, latency: 9s..1s}", "the first duration must be the shorter", ""),
    ],
)
def test_a_wrong_provider_is_one_mistake(mistakes: Mistakes, provider: str, message: str, hint: str) -> None:
    found = mistakes(pipeline(provider))
    assert len(found) == 1
    assert message in found[0].message
    assert hint in found[0].hint


def test_a_fault_that_there_is_not_is_told_where_it_stands(mistakes: Mistakes) -> None:
    text = pipeline("\n  uses: sandbox\n  faults:\n    - 429:5%\n    - resett:1%")
    (found,) = mistakes(text)
    lines = text.split("\n")
    assert lines[found.line - 1][found.column - 1 :] == "resett:1%"
    assert "Did you mean reset?" in found.message


LITERAL = "my-literal-value-0123456789"


@pytest.mark.parametrize(
    "provider",
    [
        f"{{api_key: {LITERAL}}}",
        f"{{api_key: '{LITERAL}'}}",
        f"\n  api_key: |\n    {LITERAL}",
        f"\n  api_key: >-\n    a\n    {LITERAL}",
        f"{{api_key: '${{OPENAI_API_KEY:-{LITERAL}}}'}}",
        f"{{api_key: {LITERAL}, bogus: 1}}",
        f"{{apikey: {LITERAL}}}",
        f"{{api_key: [{LITERAL}]}}",
        f"{{base_url: 'https://user:{LITERAL}@host/v1'}}",
        f"{{api_key: {LITERAL}: x",
        f"{{api_key: '${{params.key}}', organization: ok, token: {LITERAL}}}",
    ],
)
def test_a_literal_key_is_a_mistake_and_is_never_shown(load_yaml: Load, provider: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_yaml(pipeline(provider))
    assert LITERAL not in str(caught.value)
    assert LITERAL not in repr(caught.value.problems)
    for problem in caught.value.problems:
        assert problem.column <= len(problem.source) + 1


def test_a_literal_key_says_where_keys_live(mistakes: Mistakes) -> None:
    found = mistakes(pipeline("{api_key: sk-abcdefgh12345678}"))
    assert found[0].message.startswith("`api_key`: keys live in the environment: write ${OPENAI_API_KEY}, or ")
    assert found[0].source == "provider: {api_key: *******************}"


def test_the_name_of_a_provider_is_no_key(mistakes: Mistakes) -> None:
    assert [problem.source for problem in mistakes(pipeline("sandbx"))] == ["provider: sandbx"]


def test_keys_anywhere_else_in_a_shown_line_are_masked_too(mistakes: Mistakes) -> None:
    found = mistakes(f"{HEAD}descripton: sk-abcdefgh12345678\n{TAIL}")
    assert found[0].message == "unknown key `descripton`"
    assert "abcdefgh" not in found[0].render()


def test_a_key_anywhere_in_the_file_is_a_mistake_and_is_not_shown(tmp_path: Path) -> None:
    key = "sk-proj-" + "a1B2" * 8
    (tmp_path / "rows.csv").write_text("id,text\n1,one\n")
    (tmp_path / "p.yaml").write_text(
        "name: p\nprovider: sandbox\nsource: {path: rows.csv, key: id}\nsteps:\n"
        '  - {uses: embed, input: "{{ text }}", model: text-embedding-3-small, extra_body: {user: ' + key + "}}\n"
        "outputs:\n  - {uses: parquet, path: out}\n"
    )
    with pytest.raises(SpecError, match="looks like an API key") as found:
        load(tmp_path / "p.yaml")
    assert key not in str(found.value)
