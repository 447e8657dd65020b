"""Asking an artifact that is larger than the memory that may be used for it,
beside DuckDB over the same file.

    PEERS=venv make bench ONLY='query --query-rows 10000000'

Needs numpy and pyarrow in the venv that PEERS names, to make the rows, and
duckdb to compare with.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

from measure import duration, refrain, run, table

PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer_query.py")
ROUNDS = 3
PIPELINE = """pipeline: plays
stages:
  plays: { kind: read_table, with: { path: plays.parquet } }
"""
ARTISTS = "select artist, count(*) as n, avg(score) as score from plays group by artist order by n desc, artist limit 10"
USERS = "select user_id, count(*) as n, avg(score) as score from plays group by user_id order by n desc, user_id limit 10"
LAST = "select * from plays order by score desc limit 10"
FIRST = "select * from plays order by artist, title, score limit 10"
# What is measured: words for refrain, and the same for DuckDB where it has the same.
ASKED = [
    ("`show`", ["show", "plays"], "select * from plays limit 10"),
    ("`show --sample 20`", ["show", "plays", "--sample", "20"],
     "select * from plays using sample reservoir(20 rows) repeatable (0)"),
    ("`show --where` (1 row of 40,000), counted", ["show", "plays", "--where", "plays > 100"],
     "select * from plays where plays > 100"),
    ("`show --sort score:desc`", ["show", "plays", "--sort", "score:desc"],
     "select * from plays order by score desc nulls last limit 10"),
    ("`show --stats`", ["show", "plays", "--stats"], "summarize plays"),
    ("`sql`: groups of 5,000 artists", ["sql", ARTISTS], ARTISTS),
    ("`sql`: groups of 1,000,000 users", ["sql", USERS], USERS),
    ("`sql`: all columns of the ten rows with the highest score", ["sql", LAST], LAST.replace("desc", "desc nulls first")),
    ("`sql`: all columns of the first ten rows by two texts and a number", ["sql", FIRST], FIRST),
    ("`sql`: all rows as CSV", ["sql", "select * from plays", "--format", "csv", "--output", "out.csv"],
     "copy plays to 'out-peer.csv' (header)"),
    ("`sql`: all rows as Parquet", ["sql", "select * from plays", "--format", "parquet", "--output", "out.parquet"],
     "copy plays to 'out-peer.parquet' (compression zstd)"),
]


def python(packages):
    """The venv's Python, if it has the packages."""
    program = os.path.join(os.path.abspath(os.environ.get("PEERS") or "no venv"), "bin", "python")
    if not os.access(program, os.X_OK):
        return None
    found = subprocess.run([program, "-c", f"import {packages}"], stderr=subprocess.DEVNULL).returncode == 0
    return program if found else None


def main(scratch, rows):
    """Measures and prints the table."""
    maker, peer = python("numpy, pyarrow"), python("duckdb")
    if not maker:
        print("skipped: `query` needs numpy and pyarrow in the venv that PEERS names\n")
        return
    folder = tempfile.mkdtemp(dir=scratch)
    subprocess.run([maker, PEER, "generate", "plays.parquet", str(rows)], cwd=folder, check=True)
    with open(os.path.join(folder, "pipeline.yaml"), "w") as file:
        file.write(PIPELINE)
    run(refrain("run"), folder)
    path = json.loads(subprocess.check_output(refrain("path", "plays", "--json"), cwd=folder))["plays"]
    megabytes = os.path.getsize(os.path.join(folder, path)) / 1e6
    lines = []
    for what, words, same in ASKED:
        taken = [(run(refrain(*words), folder), peer and run([peer, PEER, "ask", path, same], folder))
                 for _ in range(ROUNDS)]
        line = [what]
        for side in (0, 1):
            measured = [one[side] for one in taken if one[side]]
            line.append(duration(statistics.median(one.seconds for one in measured)) if measured else "")
            line.append(f"{max(one.megabytes for one in measured):,.0f} MB" if measured else "")
        lines.append(line)
    table((f"{rows:,} rows of 8 columns, {megabytes:,.0f} MB", "refrain", "most memory", "DuckDB", "most memory"), *lines)
    print("Medians of whole processes, the most memory of all rounds; DuckDB's include starting Python and importing the "
          "package.\n")
    if not peer:
        print("DuckDB is not in the venv that PEERS names.\n", file=sys.stderr)
