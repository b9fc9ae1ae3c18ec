"""Rows out: one file per kind of output."""
