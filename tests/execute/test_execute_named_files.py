"""Recordings and pictures that rows name: a replaced file is asked anew, and only that one."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import pytest
from execute_bench import Bench

from penstock.execute.session import Request, load_request, plan_request
from penstock.steps.named_files import NamedFile, content_mark

TRANSCRIBE = "uses: transcribe\noutput: heard\nfile: '{{ text }}'"
SUBTITLED = TRANSCRIBE + "\nsubtitles: {folder: titles, file_name: '{{ id }}'}"
STEPS = {
    "transcribe": TRANSCRIBE,
    "transcribe with subtitles": SUBTITLED,
    "moderate": "uses: moderate\ninput: hello\nimage: '{{ text }}'",
    "chat": (
        "uses: chat\nmodel: gpt-4o-mini\n"
        "messages: [{role: user, content: [{text: 'What is this?'}, {image: '{{ text }}'}]}]"
    ),
}


def _write(path: Path, seed: int) -> None:
    """A file of the kind that its ending tells."""
    if path.suffix == ".png":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([seed] * 40))
        return
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(bytes([seed, 1]) * 4_000)


def _given(bench: Bench, step: str) -> list[Path]:
    ending = "wav" if step.startswith("transcribe") else "png"
    files = [bench.folder / f"{number}.{ending}" for number in range(3)]
    for number, file in enumerate(files):
        _write(file, number)
    bench.texts([file.name for file in files])
    bench.pipeline(STEPS[step])
    return files


@pytest.mark.parametrize("step", STEPS)
def test_a_replaced_file_is_asked_anew_and_the_others_are_not(bench: Bench, step: str) -> None:
    files = _given(bench, step)
    assert bench.run().usage.requests == 3
    assert bench.run().usage.requests == 0
    _write(files[1], 77)
    with bench.open() as session:
        assert len(session.plan.tasks) == 1
    record = bench.run()
    assert record.usage.requests == 1
    assert record.account is not None
    assert record.account.written == 3
    assert bench.run().usage.requests == 0


def test_a_file_that_is_gone_makes_its_row_an_error_row(bench: Bench) -> None:
    files = _given(bench, "transcribe")
    bench.run()
    files[0].unlink()
    bench.file.write_text(bench.file.read_text() + "errors: {stop_above: 100%}\n")
    record = bench.run()
    assert record.usage.requests == 0
    assert record.account is not None
    assert record.account.failures == {"unreadable_file": 1}


def test_a_moved_project_does_not_pay_for_its_recordings_again(bench: Bench) -> None:
    (bench.folder / "home").mkdir()
    home = Bench(bench.folder / "home", bench.server)
    _given(home, "transcribe with subtitles")
    assert home.run().usage.requests == 3
    before = sorted(path.name for path in (home.folder / "titles").iterdir())
    away = Bench(home.folder.rename(bench.folder / "away"), bench.server)
    assert away.run().usage.requests == 0
    assert sorted(path.name for path in (away.folder / "titles").iterdir()) == before


def test_other_subtitles_are_written_without_asking(bench: Bench) -> None:
    _given(bench, "transcribe with subtitles")
    bench.run()
    bench.pipeline(SUBTITLED.replace("folder: titles", "folder: others").replace("}'}", "}', formats: [vtt]}"))
    assert bench.run().usage.requests == 0
    assert {path.suffix for path in (bench.folder / "others").iterdir()} == {".vtt"}


def test_contents_are_told_apart_and_places_and_times_are_not(tmp_path: Path) -> None:
    def mark(name: str, content: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content)
        found = path.stat()
        return content_mark(NamedFile(str(path), found.st_size, found.st_mtime_ns))

    assert mark("a", b"one") == mark("b", b"one") != mark("c", b"two")
    gone = NamedFile(str(tmp_path / "gone"), 3, 1)
    assert content_mark(gone) != content_mark(gone._replace(mtime_ns=2))
    changed = NamedFile(str(tmp_path / "a"), 3, 1)
    os.utime(tmp_path / "a", ns=(2, 2))
    assert content_mark(changed) not in {mark("d", b"one"), content_mark(gone)}
    assert not changed.is_unchanged


@pytest.mark.parametrize(("step", "setting"), [("moderate", "folder"), ("chat", "image_folder")])
def test_pictures_of_the_same_names_in_another_folder_are_asked_anew(bench: Bench, step: str, setting: str) -> None:
    for place, folder in enumerate(("one", "two")):
        (bench.folder / folder).mkdir()
        _write(bench.folder / folder / "0.png", place)
        _write(bench.folder / folder / "same.png", 9)
    bench.texts(["0.png", "same.png"])
    bench.pipeline(f"{STEPS[step]}\n{setting}: one")
    assert bench.run().usage.requests == 2
    bench.pipeline(f"{STEPS[step]}\n{setting}: two")
    assert bench.run().usage.requests == 1


def test_the_plan_counts_pictures_that_are_paid_for_as_paid_for(bench: Bench) -> None:
    for number in range(3):
        _write(bench.folder / f"{number}.png", number)
    bench.pipeline(STEPS["chat"])
    bench.texts(["0.png", "1.png"])
    bench.run()
    bench.texts(["0.png", "1.png", "2.png"])
    with bench.open() as session:
        assert [estimate.requests for estimate in session.plan.estimates] == [1]
    assert bench.run().usage.requests == 1


def _touched(files: list[Path]) -> None:
    for number, file in enumerate(files):
        before = file.read_bytes()
        file.write_bytes(before)
        os.utime(file, ns=(1_600_000_000_000_000_000 + number, 1_600_000_000_000_000_000 + number))


@pytest.mark.parametrize("step", STEPS)
def test_a_file_that_was_only_touched_is_not_paid_for_again(bench: Bench, step: str) -> None:
    files = _given(bench, step)
    assert bench.run().usage.requests == 3
    _touched(files)
    request = Request(bench.file)
    (estimate,) = plan_request(request, load_request(request)).estimates
    assert (estimate.rows, estimate.requests, estimate.answered) == (0, 0, 3)
    record = bench.proven()
    assert (record.usage.requests, record.carried_rows) == (0, 3)
    _touched(files[:1])
    _write(files[1], 77)
    assert bench.run().usage.requests == 1


def test_of_recordings_that_are_rows_themselves_a_touched_one_is_not_paid_for_again(bench: Bench) -> None:
    (bench.folder / "calls").mkdir()
    files = [bench.folder / "calls" / f"{number}.wav" for number in range(3)]
    for number, file in enumerate(files):
        _write(file, number)
    bench.pipeline("uses: transcribe\noutput: heard\nfile: '{{ path }}'", more="incremental: true\n")
    text = bench.file.read_text().replace("  path: rows.csv\n  key: id\n", "  path: calls/*.wav\n")
    bench.file.write_text(text)
    assert bench.run().usage.requests == 3
    _touched(files)
    assert bench.run().usage.requests == 0


def test_a_touched_file_of_a_run_that_stopped_is_not_paid_for_again(bench: Bench) -> None:
    files = _given(bench, "transcribe")
    bench.file.write_text(bench.file.read_text() + "errors: {stop_above: 100%}\n")
    sent = files[2].read_bytes()
    files[2].write_bytes(b"no sound")
    assert bench.run().usage.requests == 2
    _touched(files)
    files[2].write_bytes(sent)
    assert bench.run().usage.requests == 1


def test_what_is_asked_of_a_touched_recording_s_transcript_is_known_as_paid_for(bench: Bench) -> None:
    files = _given(bench, "transcribe")
    last = "uses: chat\nmodel: gpt-4o-mini\noutput: last\nprompt: '{{ heard_text }}: {{ text }}'"
    bench.pipeline(f"{TRANSCRIBE}\n---\n{last}")
    assert bench.run().usage.requests == 6
    _touched(files)
    bench.texts([file.name for file in [*files, bench.folder / "new.wav"]])
    _write(bench.folder / "new.wav", 50)
    request = Request(bench.file)
    first, second = plan_request(request, load_request(request)).estimates
    assert (first.rows, first.answered, second.rows, second.answered) == (1, 3, 1, 3)
    assert bench.run().usage.requests == 2
