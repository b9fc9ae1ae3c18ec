"""What was answered once is not paid again when a setting changes that reaches no request."""

from __future__ import annotations

from pathlib import Path

import pytest
from execute_bench import Bench

from penstock.plan.fingerprints import wire_fingerprint
from penstock.steps import KINDS, ApiStep

SPEAK = "uses: speak\ninput: '{{ text }}'\nvoice: alloy\nfolder: spoken\nfile_name: '{{ id }}'\nformat: wav\n"
IMAGE = "uses: image\nprompt: '{{ text }}'\nmodel: dall-e-2\nsize: 256x256\nfolder: drawn\nfile_name: '{{ id }}'\n"


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"spoken": "elsewhere"},
        {"file_name: '{{ id }}'": "file_name: 'of-{{ id }}'"},
        {"format: wav": "format: wav\noutput: sound"},
        {"format: wav": "format: wav\nusage: false"},
        {"format: wav": "format: wav\nwhen: id < 9"},
        {"{{ text }}": "{{  text  }}"},
    ],
    ids=lambda change: next(iter(change.values())),
)
def test_speech_is_not_paid_again_when_what_reaches_the_wire_stays(bench: Bench, change: dict[str, str]) -> None:
    bench.texts(["one", "two"])
    bench.pipeline(SPEAK)
    assert bench.run().usage.requests == 2
    changed = SPEAK
    for old, new in change.items():
        changed = changed.replace(old, new)
    bench.pipeline(changed)
    assert bench.run().usage.requests == 0
    result = bench.result()
    column = next(name for name in result.columns if name.endswith("path"))
    assert all(Path(path).is_file() for path in result[column].to_list())


def test_another_voice_is_asked_anew(bench: Bench) -> None:
    bench.texts(["one", "two"])
    bench.pipeline(SPEAK)
    bench.run()
    bench.pipeline(SPEAK.replace("alloy", "nova"))
    assert bench.run().usage.requests == 2


def test_a_moved_project_pays_nothing_and_its_new_files_have_the_names_of_the_old_ones(bench: Bench) -> None:
    home = bench.folder / "home"
    home.mkdir()
    moved = Bench(home, bench.server)
    moved.texts(["one", "two"])
    moved.pipeline(f"{SPEAK}---\n{IMAGE}output: picture")
    assert moved.run().usage.requests == 4
    before = _names(home / "spoken") + _names(home / "drawn")
    away = Bench(home.rename(bench.folder / "away"), bench.server)
    assert away.run().usage.requests == 0
    assert _names(away.folder / "spoken") + _names(away.folder / "drawn") == before
    assert all(path.startswith(str(away.folder)) for path in away.result()["path"].to_list())


def test_files_have_the_same_names_wherever_the_project_stands(bench: Bench) -> None:
    names = []
    for place in ("here", "there"):
        (bench.folder / place).mkdir()
        other = Bench(bench.folder / place, bench.server)
        other.texts(["one", "two"])
        other.pipeline(SPEAK)
        other.run()
        names.append(_names(other.folder / "spoken"))
    assert names[0] == names[1]


def test_the_wire_fingerprint_goes_by_requests_and_not_by_what_becomes_of_answers() -> None:
    def speak(**settings: object) -> ApiStep:
        given = {"uses": "speak", "input": "{{ a }}", "folder": "/x", "file_name": "{{ b }}", **settings}
        step = KINDS["speak"].model_validate(given)
        assert isinstance(step, ApiStep)
        return step

    own = wire_fingerprint(speak(), "https://one")
    assert None not in speak().wire().values(), "an optional setting more must not ask everything again"
    for same in ({"folder": "/y"}, {"file_name": "{{ c }}"}, {"when": "a > 1"}, {"usage": False}, {"id": "x"}):
        assert wire_fingerprint(speak(**same), "https://one") == own
    for other in ({"voice": "nova"}, {"model": "tts-1-hd"}, {"speed": 2}, {"extra_body": {"user": "me"}}):
        assert wire_fingerprint(speak(**other), "https://one") != own
    assert wire_fingerprint(speak(), "https://two") != own
