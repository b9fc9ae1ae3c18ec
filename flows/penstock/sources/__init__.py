"""Rows in. A new kind of source is one file and one line here."""

from __future__ import annotations

from penstock.sources.base import BadRow, FileState, Slice, SliceData, Source
from penstock.sources.settings import ENDINGS, SourceSettings

__all__ = ["ENDINGS", "BadRow", "FileState", "Slice", "SliceData", "Source", "SourceSettings"]
