"""Real servers for the sources that need one: PostgreSQL, and moto as S3, each for a while."""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from postgres import Postgres, free_port, postgres_server, until

__all__ = ["BUCKET", "Bucket", "Postgres", "postgres_server", "s3_server"]

BUCKET = "bucket"


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3 server on this machine."""

    port: int

    def put(self, key: str, data: bytes) -> str:
        """Store an object; its address."""
        import obstore
        from obstore.store import from_url

        obstore.put(from_url(f"s3://{BUCKET}", client_options={"allow_http": True}), key, data)
        return f"s3://{BUCKET}/{key}"

    def make(self) -> None:
        """An empty bucket, whatever was there before."""
        for method, path in (("POST", "/moto-api/reset"), ("PUT", f"/{BUCKET}")):
            connection = http.client.HTTPConnection("127.0.0.1", self.port)
            connection.request(method, path)
            assert connection.getresponse().status == 200
            connection.close()


@contextmanager
def s3_server() -> Iterator[Bucket]:
    bucket = Bucket(free_port())
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(bucket.port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(bucket.make, OSError)
            yield bucket
        finally:
            process.terminate()
