"""Allocators that give memory back, and a collector that looks at what is new: for processes whose only work is a run.

Vectors come as buffers of a megabyte in several threads. By default glibc keeps an arena per thread and mimalloc (in
pyarrow and pyreqwest) holds freed pages for later; a run of a million rows then keeps 100 to 150 MB that nobody uses.
"""

from __future__ import annotations

import ctypes
import gc
import os

_M_ARENA_MAX = -8
_ARENAS = 2
_COLLECTED_AFTER = 20_000


def give_back_memory() -> None:
    """One allocator for Arrow and Python, and both kinds told so.

    To be called before pyarrow and pyreqwest are imported. Does nothing without glibc.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    os.environ.setdefault("MIMALLOC_PURGE_DELAY", "0")
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_M_ARENA_MAX, _ARENAS)


def leave_libraries_alone() -> None:
    """Have the garbage collector pass over all that is there now, and look for more less often.

    To be called when everything is imported and planned. A run makes rows, which are freed without the collector, and
    hardly a cycle; looking through half a million objects of the libraries again and again took a tenth of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTED_AFTER, 10, 10)
