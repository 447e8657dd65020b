"""A crawl at unlimited rate: the paper's Apple pipeline from the first user to
the last prompt, against a sandbox in another process."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request

from measure import REFRAIN, refrain, table

PIPELINE = "pipelines/apple.yaml"
# The stages that ask; everything below them only computes.
TARGETS = ["tags", "lyrics", "summaries", "summaries_asked_25", "lyric_summaries", "lyric_summaries_asked_25"]


def started(catalog, users):
    """A sandbox over the catalog, and its URL."""
    command = [REFRAIN, "sandbox", "--port", "0", "--seed", "7", "--users", str(users), "--songs", "10000",
               "--catalog", catalog]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    url = child.stdout.readline().strip()
    if not url.startswith("http://"):
        sys.exit("error: the sandbox did not start")
    return child, url


def crawl(command):
    """Runs a crawl: (its events, the most memory in MB)."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    events = [json.loads(line) for line in child.stdout]
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"error: the crawl ended with {child.returncode}: {events[-3:]}")
    return events, usage.ru_maxrss / 1024


def limit(url):
    """Requests per second that wrk gets out of the sandbox with as many connections, where it is installed."""
    try:
        said = subprocess.run(["wrk", "-t1", "-c32", "-d5s", f"{url}/lastfm/2.0/?method=user.getInfo&user=RJ&format=json"],
                              check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return None
    return next(float(line.split()[1]) for line in said.splitlines() if line.startswith("Requests/sec:"))


def main(scratch, data, users):
    """Measures and prints the tables."""
    catalog = os.path.join(data, "apple_music_10k", "apple_music_dataset.csv")
    if not os.path.exists(catalog):
        print(f"skipped: there is no catalog at {catalog} (--data FOLDER)\n")
        return
    sandbox, url = started(catalog, users)
    try:
        artifacts = os.path.join(tempfile.mkdtemp(dir=scratch), "artifacts")
        command = refrain("--artifacts", artifacts, "run", PIPELINE, f"--sandbox={url}", "--json",
                          "--set", f"DATA={data}", "--set", f"USERS={users}")
        for target in TARGETS:
            command += ["--target", target]
        events, peak = crawl(command)
        with urllib.request.urlopen(f"{url}/__stats") as answer:
            total = json.load(answer)["total"]
        most = limit(url)
    finally:
        sandbox.terminate()
        sandbox.wait()
    last = events[-1]
    rate = last["requests"] / last["seconds"]
    rows = [("what", "value"),
            (f"requests of the whole crawl ({users:,} users)", f"{last['requests']:,}"),
            ("time, stages that compute included", f"{last['seconds']:.1f} s"),
            ("requests per second; at least 2,000 are wanted", f"{rate:,.0f}"),
            ("most memory; less than 500 MB are wanted", f"{peak:.0f} MB"),
            ("answered requests that were asked again", f"{total['repeated']:,}")]
    if most:
        rows.append(("requests per second that wrk gets of the same sandbox", f"{most:,.0f}"))
    table(*rows)
    stages = [e for e in events if e["event"] == "stage_finished" and e["requests"] > 0]
    lines = [(f"`{e['stage']}`", f"{e['requests']:,}", f"{e['seconds']:.1f}", f"{e['requests'] / e['seconds']:,.0f}")
             for e in stages]
    table(("stage", "requests", "seconds", "per second"), *lines)
    print("Stages run side by side, so the rates add up.\n")
