"""Real servers for the sources that need one, started once: PostgreSQL, and moto as S3."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BUCKET = "bucket"


@dataclass(frozen=True)
class Postgres:
    """A server on this machine; `reader` has a password, `owner` none."""

    port: int
    password: str

    def uri(self, user: str = "reader", host: str = "127.0.0.1") -> str:
        return f"postgresql://{user}@{host}:{self.port}/postgres"

    def execute(self, *statements: str) -> None:
        import adbc_driver_postgresql.dbapi as driver

        with driver.connect(self.uri("owner"), autocommit=True) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    if shutil.which("initdb") is None or shutil.which("postgres") is None:
        pytest.skip("PostgreSQL's programs are not installed")
    # The server refuses to run as root.
    user: dict[str, Any] = {"user": "postgres"} if os.getuid() == 0 else {}
    server = Postgres(_free_port(), "pa ss:w@rd/1")
    with tempfile.TemporaryDirectory(prefix="penstock-postgres-", ignore_cleanup_errors=True) as folder:
        if user:
            shutil.chown(folder, "postgres")
        data = Path(folder) / "data"
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **user}
        subprocess.run(["initdb", "-D", data, "-U", "owner", "-A", "trust", "--no-sync"], check=True, **quiet)
        (data / "pg_hba.conf").write_text(
            "host all owner 127.0.0.1/32 trust\nhost all reader 127.0.0.1/32 scram-sha-256\n"
        )
        options = {"port": server.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        with subprocess.Popen(
            ["postgres", "-D", data, *(word for name, value in options.items() for word in ("-c", f"{name}={value}"))],
            **quiet,
        ) as process:
            try:
                _wait_for(server.port)
                _until(lambda: server.execute("select 1"))
                server.execute(
                    f"create role reader login password '{server.password}'",
                    "grant pg_read_all_data to reader",
                )
                yield server
            finally:
                process.terminate()


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3 server on this machine."""

    url: str

    def put(self, key: str, data: bytes) -> str:
        """Store an object; its address."""
        import obstore
        from obstore.store import from_url

        obstore.put(from_url(f"s3://{BUCKET}", client_options={"allow_http": True}), key, data)
        return f"s3://{BUCKET}/{key}"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    port = _free_port()
    words = ["python", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, **quiet) as process:
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    import urllib.request

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "a-secret-for-tests",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    urllib.request.urlopen(urllib.request.Request(f"{s3_server}/moto-api/reset", method="POST")).close()
    urllib.request.urlopen(urllib.request.Request(f"{s3_server}/{BUCKET}", method="PUT")).close()
    yield Bucket(s3_server)


def _wait_for(port: int) -> None:
    def connected() -> None:
        socket.create_connection(("127.0.0.1", port), 1).close()

    _until(connected)


def _until(works: Callable[[], None], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            works()
            return
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
