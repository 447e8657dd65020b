"""How long it takes to start, with the binary's pages in memory and without."""

import os
import shutil

from measure import REFRAIN, duration, medians, refrain, run, table


def forget(path):
    """Drops a file's pages from the cache, so that its next use reads the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def cold():
    """One start from the disk."""
    forget(REFRAIN)
    return run(refrain("--version"))


def main():
    """Measures and prints the table."""
    true = shutil.which("true")
    warm, limit = medians(41, lambda: run(refrain("--version")), lambda: run([true]))
    from_disk, = medians(7, cold)
    table(("what", "time", "`true` beside it"),
          ("`refrain --version`", duration(warm), duration(limit)),
          ("`refrain --version`, the binary not in memory", duration(from_disk), ""))
