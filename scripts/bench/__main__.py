"""Takes the measurements of docs/benchmarks.md and prints them as Markdown.

    make bench                                  all of them, some ten minutes
    make bench ONLY='stages --stages 10,100'    some
    PEERS=venv make bench                       with DVC and Snakemake from that venv beside it

Needs Python 3.9 or newer and a built refrain (`make bench` sees to both). Every
time is the median of several runs of the whole process, beside a peer or a
limit taken in the same minute: machines differ, ratios travel.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile

import core
import crawl
import demo
import embed
import model
import plot
import query
import remote
import rows
import stages
import start
from measure import REFRAIN

SECTIONS = ["start", "stages", "rows", "demo", "crawl", "core", "embed", "model", "query", "remote"]


def sizes(text):
    """Numbers between commas."""
    return [int(part) for part in text.split(",")]


def arguments():
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Takes the measurements of docs/benchmarks.md.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all if none is given")
    parser.add_argument("--stages", type=sizes, default=[10, 100, 1000, 10_000], help="how many stages: 10,100,…")
    parser.add_argument("--rows", type=sizes, default=[1000, 10_000, 100_000, 1_000_000], help="how many rows: 1000,…")
    parser.add_argument("--data", default="datasets", help="where the real catalogs are, for `crawl`")
    parser.add_argument("--users", type=int, default=8000, help="users of the crawl")
    parser.add_argument("--interactions", type=int, default=20_000_000, help="rows for `core`")
    parser.add_argument("--query-rows", type=int, default=10_000_000, help="rows for `query`")
    parser.add_argument("--worlds", nargs="+", default=["80000,10000,1000000", "1000000,100000,50000000"],
                        help="users,items,interactions of the curve of `model`")
    parser.add_argument("--points", help="keep the points of the curves in this file, beside those of other sections")
    parser.add_argument("--plot", help="draw the curves into this SVG file")
    given = parser.parse_args()
    unknown = sorted(set(given.sections) - set(SECTIONS))
    if unknown:
        parser.error(f"there is no section {unknown[0]}: choose from {', '.join(SECTIONS)}")
    return given


def merged(points, path):
    """The points with those that the file has of other measurements; writes them there."""
    if path and os.path.exists(path):
        with open(path) as file:
            taken = [point[:2] for point in points]
            points = [point for point in json.load(file) if point[:2] not in taken] + points
    if path:
        with open(path, "w") as file:
            json.dump(points, file, indent=0)
    return points


def main():
    """Takes the measurements."""
    given = arguments()
    if not os.access(REFRAIN, os.X_OK):
        sys.exit(f"error: {REFRAIN} is not there; `make bench` builds it")
    wanted = given.sections or SECTIONS
    scratch = tempfile.mkdtemp(prefix="refrain-bench-")
    points = []
    try:
        if "start" in wanted:
            start.main()
        if "stages" in wanted:
            points += stages.main(scratch, given.stages)
        if "rows" in wanted:
            points += rows.main(scratch, given.rows)
        if "demo" in wanted:
            demo.main(scratch)
        if "crawl" in wanted:
            crawl.main(scratch, given.data, given.users)
        if "core" in wanted:
            core.main(scratch, given.interactions)
        if "embed" in wanted:
            embed.main(scratch)
        if "model" in wanted:
            model.main(given.worlds)
        if "query" in wanted:
            query.main(scratch, given.query_rows)
        if "remote" in wanted:
            remote.main(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    points = merged(points, given.points)
    if given.plot and points:
        plot.draw(points, given.plot)


if __name__ == "__main__":
    main()
