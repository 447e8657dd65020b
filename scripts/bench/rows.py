"""What a row costs: reading a table of 1,000 to 1,000,000 rows into an
artifact, and planning a stage that asks an API about each of them, all of
which are known."""

import json
import os
import subprocess
import sys
import tempfile

from measure import duration, medians, refrain, run, table

ROUNDS = {1000: 11, 10_000: 11, 100_000: 9}
PIPELINE = """pipeline: known
stages:
  tracks: { kind: read_table, with: { path: tracks.csv } }
  tags: { kind: crawl_top_tags, inputs: { tracks: tracks } }
"""


def write_memo(tests, folder, rows):
    """Fills a memo as a crawl of so many tracks would have. Asking for a
    million answers would take an hour, so a test of the library writes them."""
    environment = {**os.environ, "MEMO_FOLDER": os.path.join(folder, "store-0", "memo-v1", "http"),
                   "MEMO_ROWS": str(rows)}
    run([tests, "--ignored", "--exact", "web::answers::tests::memo_of_a_crawl"], folder, environment)


def measure(scratch, rows, tests):
    """Measures one number of rows: a row of the table and the points."""
    folder = tempfile.mkdtemp(dir=scratch)
    with open(os.path.join(folder, "pipeline.yaml"), "w") as file:
        file.write(PIPELINE)
    with open(os.path.join(folder, "tracks.csv"), "w") as file:
        file.write("item_id,artist,title\n")
        file.writelines(f"i{i},Artist {i // 10},Title {i}\n" for i in range(rows))
    stores = iter([f"store-{i}" for i in range(3)])
    read, = medians(3, lambda: run(refrain("--artifacts", next(stores), "run", "-t", "tracks"), folder))
    points = [["read a CSV, write its artifact", rows, read]]
    if not tests:
        return (f"{rows:,}", duration(read), "", ""), points
    write_memo(tests, folder, rows)
    # No key is needed to plan, and none is used.
    plan = refrain("--artifacts", "store-0", "plan")
    said = subprocess.run([*plan, "--json"], cwd=folder, check=True, stdout=subprocess.PIPE).stdout
    known = [stage.get("rows") for stage in json.loads(said)["stages"] if stage["stage"] == "tags"]
    counts = [{name: one[name] for name in ("rows", "known", "left")} for one in known]
    if counts != [{"rows": rows, "known": rows, "left": 0}]:
        sys.exit(f"error: all of {rows} rows should be known, but the plan says {known}")
    peak = run(plan, folder).megabytes
    planned, = medians(ROUNDS.get(rows, 7), lambda: run(plan, folder))
    points.append(["plan over known rows", rows, planned])
    return (f"{rows:,}", duration(read), duration(planned), f"{peak:.0f} MB"), points


def main(scratch, sizes):
    """Measures all sizes, prints the table and gives the points."""
    tests = os.environ.get("LIB_TESTS")
    lines, points = [], []
    for rows in sizes:
        line, more = measure(scratch, rows, tests and os.path.abspath(tests))
        lines.append(line)
        points += more
    table(("rows", "read a CSV, write its artifact", "plan over known rows", "the plan's memory"), *lines)
    if not tests:
        print("The memo for the plans is filled by the library's tests: `make bench` builds and names them.\n")
    return points
