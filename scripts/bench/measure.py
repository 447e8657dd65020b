"""How a command is measured, and how figures are printed."""

import os
import statistics
import subprocess
import sys
import time

REFRAIN = os.path.abspath(os.environ.get("REFRAIN", "target/release/refrain"))


class Measured:
    """Wall seconds of a whole process, and the most memory that it held."""

    def __init__(self, seconds, megabytes):
        self.seconds, self.megabytes = seconds, megabytes


def run(command, folder=None, environment=None):
    """Runs a command to its end. Its output is thrown away; if it fails, so do we."""
    start = time.perf_counter()
    child = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"error: `{' '.join(command)}` ended with {child.returncode}:\n{said.decode(errors='replace')}")
    return Measured(seconds, usage.ru_maxrss / 1024)


def refrain(*arguments):
    """A command of the refrain that is measured."""
    return [REFRAIN, *arguments]


def medians(rounds, *measures):
    """Takes measurements in turn, so that what else the machine does falls on
    all of them alike, and gives the median seconds of each."""
    taken = [[measure().seconds for measure in measures] for _ in range(rounds)]
    return [statistics.median(one) for one in zip(*taken)]


def duration(seconds):
    """`12.3 ms` or `4.56 s`."""
    return f"{seconds * 1000:.1f} ms" if seconds < 0.9995 else f"{seconds:.2f} s"


def table(*rows):
    """Prints a Markdown table; the first row is its head."""
    for number, row in enumerate(rows):
        print("| " + " | ".join(str(cell) for cell in row) + " |")
        if number == 0:
            print("|" + " --- |" * len(row))
    print(flush=True)
