"""The 5-core of many interactions with ids that are texts, Parquet to Parquet,
beside the loop that everyone writes in pandas.

    PEERS=venv make bench ONLY='core'

Needs pandas and pyarrow in the venv that PEERS names, also to make the data.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

from measure import duration, refrain, table

PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pandas_core.py")
ROUNDS = 3
PIPELINE = """pipeline: core
stages:
  interactions: { kind: read_table, with: { path: interactions.parquet } }
  core:
    kind: filter_k_core
    inputs: { interactions: interactions }
    with: { min_per_user: 5, min_per_item: 5 }
"""


def python():
    """The venv's Python, if it has what is needed."""
    program = os.path.join(os.path.abspath(os.environ.get("PEERS") or "no venv"), "bin", "python")
    if not os.access(program, os.X_OK):
        return None
    found = subprocess.run([program, "-c", "import pandas, pyarrow"], stderr=subprocess.DEVNULL).returncode == 0
    return program if found else None


def measured(command, folder):
    """Runs a command: what it said, and the most memory in MB."""
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    said = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"error: `{' '.join(command)}` ended with {child.returncode}:\n{said[-2000:]}")
    return said, usage.ru_maxrss / 1024


def ours(folder):
    """A run in a store of its own: (seconds of the stage, of the whole run, rows kept, MB)."""
    with tempfile.TemporaryDirectory(dir=folder) as store:
        said, peak = measured(refrain("--artifacts", store, "run", "pipeline.yaml", "--json"), folder)
    events = [json.loads(line) for line in said.splitlines()]
    core, = [event for event in events if event["event"] == "stage_finished" and event["stage"] == "core"]
    return core["seconds"], events[-1]["seconds"], core["rows"], peak


def theirs(program, folder):
    """The loop: (seconds without the imports, rows kept, users, items, rounds, MB, seconds of sorting the rows)."""
    said, peak = measured([program, PEER, "filter", "interactions.parquet", "pandas.parquet"], folder)
    rows, users, items, rounds, seconds, sorting = said.split()
    return float(seconds), int(rows), int(users), int(items), int(rounds), peak, float(sorting)


def main(scratch, rows):
    """Measures and prints the table."""
    program = python()
    if not program:
        print("skipped: the 5-core needs pandas and pyarrow in the venv that PEERS names\n")
        return
    folder = tempfile.mkdtemp(dir=scratch)
    subprocess.run([program, PEER, "generate", "interactions.parquet", str(rows)], cwd=folder, check=True)
    with open(os.path.join(folder, "pipeline.yaml"), "w") as file:
        file.write(PIPELINE)
    taken = [(ours(folder), theirs(program, folder)) for _ in range(ROUNDS)]
    stage, whole = (statistics.median(one[0][place] for one in taken) for place in (0, 1))
    loop = statistics.median(one[1][0] for one in taken)
    same = statistics.median(one[1][0] + one[1][6] for one in taken)
    (_, _, kept, _), (_, also, users, items, rounds, _, _) = taken[0]
    if kept != also:
        sys.exit(f"error: refrain keeps {kept} rows and pandas {also}")
    table((f"5-core of {rows:,} interactions, Parquet to Parquet", "time", "most memory"),
          ("`filter_k_core`, from artifact to artifact; at most 5 s are allowed for 20 million",
           duration(stage), ""),
          ("the whole run, reading the file into an artifact included", duration(whole),
           f"{max(one[0][3] for one in taken):,.0f} MB"),
          (f"the loop in pandas, {rounds} rounds, without its imports", duration(loop),
           f"{max(one[1][5] for one in taken):,.0f} MB"),
          ("the same with its rows sorted as refrain's are", duration(same), ""),
          ("how many times faster; at least 10 are wanted", f"{loop / stage:.1f} and {same / stage:.1f}", ""))
    print(f"Both keep {kept:,} interactions of {users:,} users and {items:,} items; ids are texts, rows in the order "
          f"of time. Medians of {ROUNDS} rounds taken in turns; refrain also sorts its rows by user and item, hashes "
          "every column and syncs the file, and pandas leaves the rows as they are.\n")
