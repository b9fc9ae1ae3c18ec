"""Texts that pipelines of these tests are made of."""

from __future__ import annotations

HEAD = """
name: reviews
provider: sandbox
source:
  path: reviews.csv
  key: review_id
"""
TAIL = """
outputs:
  - uses: parquet
    path: out
"""
