"""A PostgreSQL server of a test's own, from the machine's programs; importable because `conftest` stands beside it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Postgres:
    """A server on this machine; `reader` has a password, `owner` needs none."""

    port: int
    password: str = "pa ss:w@rd/1"

    def uri(self, user: str = "reader") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/postgres"

    def execute(self, *statements: str) -> None:
        import adbc_driver_postgresql.dbapi as driver

        with driver.connect(self.uri("owner"), autocommit=True) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    if shutil.which("initdb") is None or shutil.which("postgres") is None:
        pytest.skip("PostgreSQL's programs are not installed")
    from adbc_driver_manager import Error

    # The server refuses to run as root.
    user: dict[str, Any] = {"user": "postgres"} if os.getuid() == 0 else {}
    server = Postgres(free_port())
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
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with subprocess.Popen(["postgres", "-D", data, *words], **quiet) as process:
            try:
                until(lambda: server.execute("select 1"), Error)
                server.execute(
                    f"create role reader login password '{server.password}'", "grant pg_read_all_data to reader"
                )
                yield server
            finally:
                process.terminate()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(works: Callable[[], None], refusal: type[Exception], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            works()
        except refusal:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
