"""What tests of several packages share: `raw_http` is importable because this file stands here."""

from __future__ import annotations

from hypothesis import settings

# Wall-clock deadlines fail on a shared machine and at first imports; the time-outs of the tests are enough.
settings.register_profile("penstock", deadline=None)
settings.load_profile("penstock")
