"""The demo from nothing, and again."""

import json
import os
import subprocess
import tempfile

from measure import duration, medians, refrain, run, table

DEMO = "pipelines/demo.yaml"


def stage_times(artifacts):
    """Runs the demo on an empty store and returns (stage, seconds, rows) and the totals."""
    command = refrain("--artifacts", artifacts, "run", DEMO, "--json")
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    stages = [(e["stage"], e["seconds"], e["rows"]) for e in events if e["event"] == "stage_finished"]
    return stages, events[-1]


def main(scratch):
    """Measures and prints the tables."""
    artifacts = os.path.join(tempfile.mkdtemp(dir=scratch), "artifacts")
    stages, finished = stage_times(artifacts)
    again, = medians(11, lambda: run(refrain("--artifacts", artifacts, "run", DEMO)))
    whole = finished["seconds"]
    table(("what", "time"),
          ("the demo, whole; at most 120 s are allowed", duration(whole)),
          (f"the demo, nothing to do ({finished['stages']} stages)", duration(again)))
    longest = sorted((stage for stage in stages if stage[1] >= 0.1), key=lambda stage: -stage[1])
    shares = [(f"`{stage}`", f"{rows:,}", f"{spent:.1f}", f"{spent / whole:.0%}") for stage, spent, rows in longest]
    table(("stage of the demo", "rows", "seconds", "share"), *shares)
    print(f"{finished['requests']:,} requests to the sandbox. Stages under 0.1 s are left out; stages run side by side, "
          "so the shares add up to more than the whole.\n")
