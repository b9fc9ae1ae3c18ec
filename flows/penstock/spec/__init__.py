"""The pipeline language: from YAML text to a typed , or every mistake with its place."""
