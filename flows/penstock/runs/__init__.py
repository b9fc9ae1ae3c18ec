"""Runs: their record, their account of rows, their history and their proof."""
