"""What tests of several packages share: `raw_http` is importable because this file stands here."""
