"""`embed` beside sentence-transformers: 2,000 titles and 2,000 texts of 25 words,
in turns, on the same cores.

    PEERS=venv make bench ONLY='embed'

The peer (peer_embed.py) needs sentence-transformers in the venv that PEERS
names, and the weights that `refrain model fetch` installs: both sides have the
same. Its model is loaded before its clock starts; of refrain's time, that of a
run with one text is subtracted (starting, loading, writing).
"""

import csv
import json
import os
import random
import statistics
import subprocess
import tempfile
import time

from measure import refrain, run, table

PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer_embed.py")
ROUNDS, TEXTS = 3, 2000
WORDS = """amber autumn basement bicycle border bridge broken candle captain carnival cathedral city cold copper
daughter distant diamond dream echo electric empty engine fever film forest ghost glass golden harbour heart hollow
honey horizon island january kitchen lantern letter lonely machine magnetic marble midnight mirror monsoon mother
motorway neon night ocean orchard paper parade pillow postcard promise quiet radio railway rain river rosewater rust
satellite season shadow signal silver sister sleep smoke sparrow station stone stranger sugar summer telephone theatre
thunder tide tomorrow tremble valley velvet violet waltz water weather whisper window winter wonder yesterday""".split()
PIPELINE = """pipeline: embed
stages:
  texts: { kind: read_table, with: { path: texts.csv } }
  vectors: { kind: embed, inputs: { texts: texts } }
"""


def make_texts(shortest, longest, seed):
    """Distinct texts of so many words."""
    draw = random.Random(seed)
    texts = {}
    while len(texts) < TEXTS:
        texts[" ".join(draw.choices(WORDS, k=draw.randint(shortest, longest)))] = None
    return list(texts)


def ours(scratch, texts):
    """Seconds of a run over these texts, with a store of its own."""
    folder = tempfile.mkdtemp(dir=scratch)
    with open(os.path.join(folder, "texts.csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["item_id", "text"])
        writer.writerows((f"song-{row}", text) for row, text in enumerate(texts))
    with open(os.path.join(folder, "pipeline.yaml"), "w", encoding="utf-8") as file:
        file.write(PIPELINE)
    start = time.perf_counter()
    run(refrain("run", "--device", "cpu"), folder)
    return time.perf_counter() - start


def python():
    """The venv's Python, if it has what is needed."""
    program = os.path.join(os.path.abspath(os.environ.get("PEERS") or "no venv"), "bin", "python")
    if not os.access(program, os.X_OK):
        return None
    found = subprocess.run([program, "-c", "import sentence_transformers"], stderr=subprocess.DEVNULL).returncode == 0
    return program if found else None


def main(scratch):
    """Measures and prints the table."""
    sets = {"titles of 2 to 5 words": make_texts(2, 5, 1), "25 words": make_texts(25, 25, 2)}
    program = python()
    theirs = None
    if program:
        theirs = subprocess.Popen([program, PEER, "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True)
    lines = []
    for name, texts in sets.items():
        own, other = [], []
        for _ in range(ROUNDS):
            alone = ours(scratch, texts[:1])
            own.append((len(texts) - 1) / (ours(scratch, texts) - alone))
            if theirs:
                theirs.stdin.write(json.dumps(texts) + "\n")
                theirs.stdin.flush()
                other.append(len(texts) / float(theirs.stdout.readline()))
        rate = statistics.median(own)
        peer = statistics.median(other) if other else None
        lines.append((name, f"{peer:.0f}" if peer else "", f"{rate:.0f}", f"{rate / peer:.2f}" if peer else ""))
    if theirs:
        theirs.stdin.close()
        theirs.wait()
    table((f"{TEXTS:,} texts, a second", "sentence-transformers", "refrain", "times as many; 1.5 wanted"), *lines)
    if not program:
        print("the peer was not measured: it needs sentence-transformers in the venv that PEERS names\n")
