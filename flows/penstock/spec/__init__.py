"""The pipeline language: from YAML text to a typed spec, or every mistake with its place."""
