#!/usr/bin/env python3
"""Takes the measurements of docs/benchmarks.md and prints them as Markdown.

Needs Python 3.8 or newer and a built refrain (`make bench` sees to both). Every
time is the median of several runs of the whole process, beside a limit or a
peer taken in the same minute: machines differ, ratios travel.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

REFRAIN = os.path.abspath(os.environ.get("REFRAIN", "target/release/refrain"))
DEMO = "pipelines/demo.yaml"


def seconds_of(command, before=None):
    """Wall seconds of one run; its output is thrown away, its failure is ours."""
    if before:
        before()
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def paired(command, limit, runs, before=None):
    """Medians of two commands run in turn, and the median of their ratios."""
    for warm_up in (command, limit):
        seconds_of(warm_up)
    ours, theirs = [], []
    for _ in range(runs):
        ours.append(seconds_of(command, before))
        theirs.append(seconds_of(limit))
    ratio = statistics.median(a / b for a, b in zip(ours, theirs))
    return statistics.median(ours), statistics.median(theirs), ratio


def forget(path):
    """Drops a file's pages from the cache, so that its next use reads the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def stage_times(artifacts):
    """Runs the demo on an empty store and returns (stage, seconds) and the totals."""
    run = subprocess.run(
        [REFRAIN, "--artifacts", artifacts, "run", DEMO, "--json"],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    events = [json.loads(line) for line in run.stdout.splitlines()]
    stages = [(e["stage"], e["seconds"], e["rows"]) for e in events if e["event"] == "stage_finished"]
    return stages, events[-1]


def main():
    if not os.access(REFRAIN, os.X_OK):
        sys.exit(f"error: {REFRAIN} is not there; `make bench` builds it")
    true = shutil.which("true")
    milli = 1000.0
    print("| what | refrain | beside it | ratio |")
    print("| --- | --- | --- | --- |")
    warm, limit, ratio = paired([REFRAIN, "--version"], [true], 21)
    print(f"| `refrain --version`, warm | {warm * milli:.1f} ms | `true`: {limit * milli:.1f} ms | {ratio:.1f} |")
    cold, limit, ratio = paired([REFRAIN, "--version"], [true], 7, before=lambda: forget(REFRAIN))
    print(f"| `refrain --version`, cold | {cold * milli:.1f} ms | `true`: {limit * milli:.1f} ms | {ratio:.1f} |")
    with tempfile.TemporaryDirectory() as folder:
        artifacts = os.path.join(folder, "artifacts")
        stages, finished = stage_times(artifacts)
        no_op = [REFRAIN, "--artifacts", artifacts, "run", DEMO]
        again, limit, ratio = paired(no_op, [REFRAIN, "--version"], 11)
        print(f"| demo, nothing to run ({finished['stages']} stages) | {again * milli:.1f} ms "
              f"| `refrain --version`: {limit * milli:.1f} ms | {ratio:.1f} |")
    whole = finished["seconds"]
    print(f"| demo, whole | {whole:.1f} s | its ceiling: 120 s | {whole / 120:.2f} |")
    print("\n| stage of the demo | rows | seconds | share |\n| --- | --- | --- | --- |")
    for stage, spent, rows in sorted(stages, key=lambda s: -s[1]):
        if spent >= 0.1:
            print(f"| `{stage}` | {rows:,} | {spent:.1f} | {spent / whole:.0%} |")
    print(f"\n{finished['requests']:,} requests to the sandbox. Stages under 0.1 s are left out; stages run "
          "side by side, so the shares add up to more than the whole.")


if __name__ == "__main__":
    main()
