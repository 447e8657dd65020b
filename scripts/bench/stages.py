"""What a stage costs: first runs and runs with nothing to do, of 10 to 10,000
trivial stages, beside the peers."""

import os
import tempfile

import peers
from measure import duration, medians, refrain, run, table

# How often: first runs make files, which must be fresh every time.
ROUNDS = {10: (5, 21), 100: (5, 15), 1000: (3, 11), 10000: (1, 5)}


def write_pipeline(folder, stages):
    """Chains of ten: a table of two rows is read and goes through nine queries."""
    with open(os.path.join(folder, "two.csv"), "w") as file:
        file.write("a,b\n1,2\n3,4\n")
    with open(os.path.join(folder, "pipeline.yaml"), "w") as file:
        file.write("pipeline: bench\nstages:\n")
        for i in range(stages):
            if i % 10 == 0:
                file.write(f"  s{i}: {{ kind: read_table, with: {{ path: two.csv }} }}\n")
            else:
                query = f"SELECT a, b + {i + 7} AS b FROM t"
                file.write(f"  s{i}: {{ kind: sql, inputs: {{ t: s{i - 1} }}, with: {{ query: '{query}' }} }}\n")


def measure(scratch, stages):
    """Measures one number of stages; gives rows of the table and points of the curves."""
    # Nothing is deleted before the end: where many files were, new ones are slow to make.
    folder = tempfile.mkdtemp(dir=scratch)
    write_pipeline(folder, stages)
    rounds_first, rounds_no_op = ROUNDS.get(stages, (1, 3))
    stores = [f"store-{i}" for i in range(rounds_first)]
    go = [lambda store=store: run(refrain("--artifacts", store, "run"), folder) for store in stores]
    waiting = iter(go)
    first, = medians(rounds_first, lambda: next(waiting)())
    peak = go[-1]().megabytes
    rows = [("first run", stages, first, None)]
    points = [["refrain, first run", stages, first]]
    others = []
    for peer, program in peers.installed():
        if stages <= peer.most_stages:
            other = peer(program, tempfile.mkdtemp(dir=scratch), stages)
            theirs = other.go().seconds
            others.append(other)
            rows.append((f"first run, {peer.name}", stages, theirs, theirs / first))
            points.append([f"{peer.name}, first run", stages, theirs])
    # A peer needs fewer rounds for as many digits: it takes longer.
    both = medians(min(5, rounds_no_op), go[-1], *(other.go for other in others)) if others else []
    no_op, = medians(rounds_no_op, go[-1])
    rows.append((f"nothing to do, {peak:.0f} MB at most", stages, no_op, None))
    points.append(["refrain, nothing to do", stages, no_op])
    for other, theirs in zip(others, both[1:]):
        rows.append((f"nothing to do, {other.name}", stages, theirs, theirs / both[0]))
        points.append([f"{other.name}, nothing to do", stages, theirs])
    return rows, points


def main(scratch, sizes):
    """Measures all sizes, prints the table and gives the points."""
    rows, points = [], []
    for stages in sizes:
        more_rows, more_points = measure(scratch, stages)
        rows += more_rows
        points += more_points
    shown = [(f"{stages:,}", what, duration(seconds), f"{ratio:.1f}" if ratio else "")
             for what, stages, seconds, ratio in rows]
    table(("stages", "what", "time", "times refrain's"), *shown)
    for peer in (peers.Dvc, peers.Snakemake):
        if not peers.found(peer.name.lower()):
            print(f"{peer.name} is not installed (see scripts/bench/peers.py); it has no rows.\n")
    return points
