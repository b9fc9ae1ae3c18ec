"""Large uploads between the real client and the real sandbox: their memory, and what is left of one that is cut."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from relay import Relay

from penstock.api import Api, errors
from penstock.api.provider import Provider, RetryPolicy
from penstock.sandbox.launch import start
from penstock.secrets import Secret

LARGE = 400 * 2**20
MOST = 150_000_000

UPLOAD = """
import asyncio, sys
from penstock.api import Api
from penstock.api.provider import Provider
from penstock.secrets import Secret

async def main():
    async with Api(Provider("sandbox", sys.argv[1], Secret("UPLOAD_KEY"))) as api:
        sent = await api.files.upload(sys.argv[2], "evals")
        await api.files.content((await api.files.upload(sys.argv[2], "fine-tune")).id, sys.argv[2] + ".back")
        print(sent.bytes)

asyncio.run(main())
print(open("/proc/self/status").read())
"""


def peak_of(status: str) -> int:
    """Bytes, from the text of /proc/PID/status."""
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


@pytest.mark.slow
def test_400_mb_go_up_and_come_down_in_less_than_150_mb_on_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(LARGE)
    with start(state=str(tmp_path / "state")) as server:
        env = {**os.environ, "UPLOAD_KEY": server.key, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", UPLOAD, server.url, str(path)],
            env=env,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0] == str(LARGE)
        assert Path(f"{path}.back").stat().st_size == LARGE
        client, sandbox = peak_of(done.stdout), peak_of(Path(f"/proc/{server.pid}/status").read_text())
    assert client < MOST
    assert sandbox < MOST


def test_an_upload_that_is_cut_leaves_no_half_file_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(os.urandom(12_000_000))
    state = tmp_path / "state"
    with start(state=str(state)) as server:
        monkeypatch.setenv("UPLOAD_KEY", server.key)

        async def main() -> None:
            relay = Relay(f"127.0.0.1:{server.port}", cut_after=5_000_000)
            retry = RetryPolicy(3, 0.01)
            async with relay as url, Api(Provider("cut", url, Secret("UPLOAD_KEY"), retry=retry)) as api:
                with pytest.raises(errors.ConnectionFailed) as caught:
                    await api.files.upload(path, "fine-tune")
                # It may have arrived, as far as the client knows: it is not sent again by itself.
                assert (caught.value.attempts, len(relay.asked)) == (1, 1)
                deadline = time.monotonic() + 10
                while list((state / "uploads").iterdir()) and time.monotonic() < deadline:
                    await asyncio.sleep(0.02)
                assert list((state / "uploads").iterdir()) == []
                assert [file async for file in api.files.list()] == []
                sent = await api.files.upload(path, "fine-tune")
                assert [file.id async for file in api.files.list()] == [sent.id]
                await api.files.content(sent.id, tmp_path / "back")

        asyncio.run(main())
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
