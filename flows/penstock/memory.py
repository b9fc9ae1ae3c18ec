"""Allocators that give memory back, and a collector that looks at what is new: for processes whose only work is a run.

Vectors come as buffers of a megabyte in several threads. By default glibc keeps an arena per thread and mimalloc (in
pyarrow) holds freed pages for later; a run of a million rows then keeps 100 to 150 MB that nobody uses.
"""

from __future__ import annotations

import ctypes
import gc
import os

_libc: ctypes.CDLL | None = None
"""Once memory is to be given back."""
_M_ARENA_MAX = -8
_M_MMAP_THRESHOLD = -3
_ARENAS = 2
_OWN_PAGES_FROM = 4 << 20
"""Bytes of a buffer from which on it has pages of its own, which go back when it is freed: a row group, not a pack.

By default glibc raises this up to 32 MB as such buffers are freed, and then puts them between the small ones.
"""
_COLLECTED_AFTER = 20_000


def give_back_memory() -> None:
    """One allocator for Arrow and Python, and both kinds told so.

    To be called before pyarrow is imported. Does nothing without glibc.
    """
    global _libc  # noqa: PLW0603  # as the allocators are, it is of the process
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        return
    _libc = libc
    if "MALLOC_ARENA_MAX" not in os.environ:
        libc.mallopt(_M_ARENA_MAX, _ARENAS)
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        libc.mallopt(_M_MMAP_THRESHOLD, _OWN_PAGES_FROM)


def trim() -> None:
    """Give back what is free by now, where `give_back_memory` was called.

    To be called after something large: glibc keeps what was freed between what is still used, up to 100 MB in a run
    that copies vectors from part to part. Takes some milliseconds.
    """
    if _libc is not None:
        _libc.malloc_trim(0)


def leave_libraries_alone() -> None:
    """Have the garbage collector pass over all that is there now, and look for more less often.

    To be called when everything is imported and planned. A run makes rows, which are freed without the collector, and
    hardly a cycle; looking through half a million objects of the libraries again and again took a tenth of its time.
    """
    gc.collect()
    trim()
    gc.freeze()
    gc.set_threshold(_COLLECTED_AFTER, 10, 10)
