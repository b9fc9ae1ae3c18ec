"""The pipeline language: from YAML text to a typed spec, or every mistake with its place."""

from __future__ import annotations

from penstock.spec.load import Loaded, load, load_text
from penstock.spec.model import Spec, dump, restore

__all__ = ["Loaded", "Spec", "dump", "load", "load_text", "restore"]
