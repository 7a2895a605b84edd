"""Memory in pages of 2 MiB, on Linux."""

import os
import sys


def ask() -> None:
    """Starts this process again with large pages for the memory that malloc hands out.

    A training step on CPU takes gigabytes afresh and gives them back, at a page fault
    per 4 KiB: an eighth to a quarter of a step (docs/performance.md). The GNU C library
    asks for large pages only if told when a process starts. Nothing is done off Linux
    or where GLIBC_TUNABLES is set; other C libraries and kernels ignore it.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
