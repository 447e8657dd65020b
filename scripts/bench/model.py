"""The two-tower recommender beside PyTorch's: a training step, the full ranking
of all users, the most memory; and how all that grows with the data.

    PEERS=venv make bench ONLY='model'
    PEERS=venv make bench ONLY='model --worlds 8000,6800,114000'

A full ranking begins with the towers, on both sides. Where ranking all users
would take hours, a sample of them is ranked, and only that is counted. Ours is an
ignored test of the library, the peer docs/bench/two_tower.py (needs
torch in the venv that PEERS names). In turns, three rounds, medians.
"""

import json
import os
import statistics
import subprocess
import sys

from measure import duration, table

PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "bench", "two_tower.py")
TEST = "model::two_tower::speed::speed_of_the_two_towers"
APPLE = "8000,6800,114000"
ROUNDS = 3
WHAT = [("a training step, dot-compress", "step", "dot_compress", "faster; aim 0.8 of its time"),
        ("a training step, inner product", "step", "dot", ""),
        ("full ranking of 8,000 users, dot-compress", "evaluation", "dot_compress", "half of its time"),
        ("full ranking of 8,000 users, inner product", "evaluation", "dot", "0.3 s")]


def measured(command, environment):
    """Runs a command: its JSON lines by what and scorer, and the most memory in MB."""
    child = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
    said = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"error: `{' '.join(command)}` ended with {child.returncode}:\n{said[-2000:]}")
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    taken = {(line["what"], line.get("scorer")): line["seconds"] for line in lines}
    taken.update({("a user", line["scorer"]): line["seconds"] / line["users"] for line in lines if "users" in line})
    return taken, usage.ru_maxrss / 1024


def ours(tests, world):
    """A run of the library's measurement."""
    return measured([tests, "--ignored", "--exact", TEST, "--nocapture"], {"REFRAIN_SPEED": world})


def peer():
    """The venv's Python, if it has torch."""
    program = os.path.join(os.path.abspath(os.environ.get("PEERS") or "no venv"), "bin", "python")
    if not os.access(program, os.X_OK):
        return None
    found = subprocess.run([program, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode == 0
    return program if found else None


def beside(tests, program):
    """The paper's Apple size, in turns with PyTorch."""
    rounds = [(ours(tests, APPLE), measured([program, PEER, "--threads", "2"], {}) if program else ({}, 0.0))
              for _ in range(ROUNDS)]
    middle = lambda of, key: statistics.median(one[of][0][key] for one in rounds)
    lines = []
    for name, what, scorer, bar in WHAT:
        own = middle(0, (what, scorer)) + (middle(0, ("vectors", scorer)) if what == "evaluation" else 0.0)
        other = middle(1, (what, scorer)) if program else None
        lines.append((name, bar, duration(own), duration(other) if other else "", f"{own / other:.2f}" if other else ""))
    memory = [max(one[of][1] for one in rounds) for of in (0, 1)]
    lines.append(("most memory", "700 MB", f"{memory[0]:.0f} MB", f"{memory[1]:.0f} MB" if program else "", ""))
    table(("8,000 users, 6,800 items, 114,000 interactions", "bar", "refrain", "PyTorch", "share of its time"), *lines)


def main(worlds):
    """Measures, prints the tables."""
    tests = os.environ.get("LIB_TESTS")
    if not tests:
        print("skipped: the model is measured by the library's tests, which `make bench` builds and names\n")
        return
    tests, program = os.path.abspath(tests), peer()
    beside(tests, program)
    if not program:
        print("PyTorch was not measured: it needs torch in the venv that PEERS names\n")
    lines = []
    for world in worlds:
        taken, memory = ours(tests, world)
        users, items, interactions = (int(size) for size in world.split(","))
        seconds = [taken[("step", "dot_compress")], taken[("step", "dot")]]
        per_user = [taken[("a user", scorer)] for scorer in ("dot_compress", "dot")]
        lines.append((f"{users:,}", f"{items:,}", f"{interactions:,}", *map(duration, seconds), *map(duration, per_user),
                      f"{memory:,.0f} MB"))
    if lines:
        table(("users", "items", "interactions", "step, dot-compress", "step, inner product",
               "ranking a user, dot-compress", "ranking a user, inner product", "most memory"), *lines)
