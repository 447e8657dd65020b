#!/usr/bin/env python3
"""Times `embed` against sentence-transformers, on the same texts, in turns.

    venv/bin/python scripts/bench_embed.py [--refrain target/release/refrain]
        [--model MODEL] [--texts 600] [--rounds 3]

Two sets of distinct texts are made: titles of two to five words and summaries
of 25. Each round embeds each set with sentence-transformers (batches of 64, on
the CPU, model already loaded) and with `refrain run` on a pipeline of two
stages. Of refrain's time, that of a run with one text is subtracted: starting,
loading the weights and writing the artifacts. Other work on the machine slows
both, so the ratio is what to look at.
"""

import argparse
import csv
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sentence_transformers import SentenceTransformer

WORDS = """amber autumn basement bicycle border bridge broken candle captain carnival cathedral city cold copper
daughter distant diamond dream echo electric empty engine fever film forest ghost glass golden harbour heart hollow
honey horizon island january kitchen lantern letter lonely machine magnetic marble midnight mirror monsoon mother
motorway neon night ocean orchard paper parade pillow postcard promise quiet radio railway rain river rosewater rust
satellite season shadow signal silver sister sleep smoke sparrow station stone stranger sugar summer telephone theatre
thunder tide tomorrow tremble valley velvet violet waltz water weather whisper window winter wonder yesterday""".split()

PIPELINE = """pipeline: bench_embed
stages:
  texts:
    kind: read_table
    with: { path: "%s" }
  vectors:
    kind: embed
    inputs: { texts: texts }
"""


def make_texts(count: int, shortest: int, longest: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    texts: dict[str, None] = {}
    while len(texts) < count:
        texts[" ".join(draw.choices(WORDS, k=draw.randint(shortest, longest)))] = None
    return list(texts)


def time_refrain(refrain: str, texts: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "texts.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["item_id", "text"])
            writer.writerows((f"song-{row}", text) for row, text in enumerate(texts))
        pipeline = Path(folder) / "bench.yaml"
        pipeline.write_text(PIPELINE % table, encoding="utf-8")
        command = [refrain, "run", str(pipeline), "--artifacts", str(Path(folder) / "artifacts"), "--device", "cpu"]
        start = time.perf_counter()
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            sys.exit(finished.stderr)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refrain", default="target/release/refrain")
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    model = SentenceTransformer(chosen.model, device="cpu")
    sets = {
        "titles": make_texts(chosen.texts, 2, 5, 1),
        "25 words": make_texts(chosen.texts, 25, 25, 2),
    }
    model.encode(sets["titles"][:64], batch_size=64)
    for round_ in range(1, chosen.rounds + 1):
        for name, texts in sets.items():
            start = time.perf_counter()
            model.encode(texts, batch_size=64, normalize_embeddings=True)
            theirs = len(texts) / (time.perf_counter() - start)
            alone = time_refrain(chosen.refrain, texts[:1])
            ours = (len(texts) - 1) / (time_refrain(chosen.refrain, texts) - alone)
            print(
                f"round {round_}, {name}: sentence-transformers {theirs:.0f}/s, "
                f"refrain {ours:.0f}/s, ratio {ours / theirs:.2f}"
            )


if __name__ == "__main__":
    main()
