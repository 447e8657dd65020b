"""Shared stores: push and pull beside `aws s3 cp`, to the same S3 server (moto),
and runs with nothing to do beside a store of many results.

Needs `PEERS=venv` with moto[server] and awscli."""

import concurrent.futures
import hashlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time

from measure import refrain, table

LARGE = 20
SMALL = 2_000
ROWS = 6_500_000  # of eight bytes: about 50 MB that nothing compresses
RESULTS = 10_000


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """Moto's S3 with an empty bucket `lab`."""

    def __init__(self, venv):
        self.port = free_port()
        command = [os.path.join(venv, "bin", "moto_server"), "-H", "127.0.0.1", "-p", str(self.port)]
        self.child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                self.put("/lab", b"")
                break
            except OSError:
                time.sleep(0.1)
        else:
            sys.exit("error: moto_server does not listen")
        self.variables = dict(os.environ, AWS_ENDPOINT_URL=f"http://127.0.0.1:{self.port}", AWS_ACCESS_KEY_ID="lab",
                              AWS_SECRET_ACCESS_KEY="lab", AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1",
                              AWS_EC2_METADATA_DISABLED="true")

    def put(self, path, body):
        """Puts a file, or makes a bucket."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("PUT", path, body)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            sys.exit(f"error: PUT {path} answers {answer.status}")

    def close(self):
        """Stops it."""
        self.child.terminate()
        self.child.wait()


def timed(command, **options):
    """Seconds that a command takes, which must succeed."""
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"error: {command} ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.perf_counter() - started


def pipeline(folder, rows, stages):
    """A pipeline of one table and so many others of its size; where it is."""
    os.makedirs(folder)
    state = 1
    with open(os.path.join(folder, "numbers.csv"), "w") as file:
        file.write("number\n")
        for start in range(0, rows, 4):
            state = int.from_bytes(hashlib.blake2b(state.to_bytes(32, "little"), digest_size=32).digest(), "little")
            numbers = [(state >> (64 * part)) & ((1 << 62) - 1) for part in range(min(4, rows - start))]
            file.write("".join(f"{number}\n" for number in numbers))
    lines = ["pipeline: numbers", "stages:",
             "  numbers: { kind: read_table, with: { path: numbers.csv } }"]
    for stage in range(stages):
        query = f"SELECT CAST(number AS BIGINT) + {stage + 1} AS number FROM numbers"
        lines.append(f"  plus{stage}: {{ kind: sql, inputs: {{ numbers: numbers }}, with: {{ query: '{query}' }} }}")
    with open(os.path.join(folder, "p.yaml"), "w") as file:
        file.write("\n".join(lines) + "\n")


def compare(server, venv, folder, name, rows, stages):
    """Push and pull of so many artifacts, ours and the peer's: rows of a table."""
    pipeline(folder, rows, stages)
    timed(refrain("run", "p.yaml", "--remote", "none"), cwd=folder)
    # The peer moves the same files: artifacts and the records that name them.
    files = os.path.join(folder, "files")
    for part in ("objects-v1", "manifests-v1"):
        shutil.copytree(os.path.join(folder, "artifacts", part), os.path.join(files, part))
    size = sum(os.path.getsize(os.path.join(at, file)) for at, _, names in os.walk(files) for file in names)
    aws = [os.path.join(venv, "bin", "aws"), "s3", "cp", "--recursive", "--only-show-errors"]
    ours, peers = {"push": [], "pull": []}, {"push": [], "pull": []}
    for turn in range(3):
        remote = f"s3://lab/{name}{turn}"
        ours["push"].append(timed(refrain("push", "p.yaml", "--remote", remote), cwd=folder, env=server.variables))
        peers["push"].append(timed(aws + [files, f"{remote}-peer"], env=server.variables))
        shutil.rmtree(os.path.join(folder, "fresh"), ignore_errors=True)
        pull = refrain("--artifacts", "fresh", "pull", "p.yaml", "--remote", remote)
        ours["pull"].append(timed(pull, cwd=folder, env=server.variables))
        shutil.rmtree(os.path.join(folder, "peer"), ignore_errors=True)
        peers["pull"].append(timed(aws + [f"{remote}-peer", os.path.join(folder, "peer")], env=server.variables))
    rows = []
    for what in ("push", "pull"):
        mine, other = sorted(ours[what])[1], sorted(peers[what])[1]
        rows.append((f"{what} {name}: {stages + 1:,} results, {size / 1e6:,.0f} MB", f"{mine:.2f} s",
                     f"{other:.2f} s", f"{other / mine:.2f}"))
    return rows


def nothing_to_do(server, scratch):
    """Runs beside a store of many results: rows of a table."""
    folder = os.path.join(scratch, "few")
    pipeline(folder, 100, 50)
    remote = ["--remote", "s3://lab/many"]
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        names = (hashlib.sha256(str(number).encode()).hexdigest() for number in range(RESULTS))
        list(pool.map(lambda name: server.put(f"/lab/many/manifests-v1/{name}.json", b"{}" * 2_000), names))
    timed(refrain("run", "p.yaml", *remote), cwd=folder, env=server.variables)
    here = [timed(refrain("run", "p.yaml", *remote), cwd=folder, env=server.variables) for _ in range(5)]
    there = []
    for turn in range(5):
        fresh = refrain("--artifacts", f"fresh{turn}", "run", "p.yaml", *remote)
        there.append(timed(fresh, cwd=folder, env=server.variables))
    return [("nothing to do, all 51 results here", f"{sorted(here)[2] * 1000:.0f} ms"),
            ("nothing to do, all 51 results in the shared store only", f"{sorted(there)[2] * 1000:.0f} ms")]


def main(scratch):
    """Measures and prints the tables."""
    venv = os.environ.get("PEERS", "")
    if not os.path.exists(os.path.join(venv, "bin", "moto_server")):
        print("skipped: PEERS names no venv with moto[server] and awscli\n")
        return
    server = Server(os.path.abspath(venv))
    try:
        few = nothing_to_do(server, scratch)
        small = compare(server, os.path.abspath(venv), os.path.join(scratch, "small"), "small", 100, SMALL)
    finally:
        server.close()
    # Moto keeps everything in memory: each measurement has a server of its own.
    server = Server(os.path.abspath(venv))
    try:
        large = compare(server, os.path.abspath(venv), os.path.join(scratch, "large"), "large", ROWS, LARGE)
    finally:
        server.close()
    table(("what", "refrain", "aws s3 cp", "ratio of rates; at least 0.8 is wanted"), *large, *small)
    table((f"beside a shared store of {RESULTS:,} results", "time; at most 2 s is wanted"), *few)
