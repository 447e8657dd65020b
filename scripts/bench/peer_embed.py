"""sentence-transformers as a peer: reads a JSON list of texts a line, embeds
them, and answers the seconds that took. Its one argument: how many threads.

The model is put together from the weights that `refrain model fetch` installed.
"""

import json
import os
import shutil
import sys
import tempfile
import time

import torch
from sentence_transformers import SentenceTransformer, models
from transformers import BertConfig, PreTrainedTokenizerFast

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def installed():
    """Where refrain keeps the weights."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(os.environ.get("REFRAIN_MODELS") or os.path.join(cache, "refrain", "models"), MODEL)


def load(folder):
    """The model, from a folder that transformers can read."""
    BertConfig(vocab_size=30_522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
               intermediate_size=1536, max_position_embeddings=512).save_pretrained(folder)
    shutil.copy(os.path.join(installed(), "model.safetensors"), folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=os.path.join(installed(), "tokenizer.json"), unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", pad_token="[PAD]", mask_token="[MASK]", model_max_length=256)
    tokenizer.save_pretrained(folder)
    transformer = models.Transformer(folder, max_seq_length=256)
    return SentenceTransformer(modules=[transformer, models.Pooling(384, "mean"), models.Normalize()], device="cpu")


def main():
    """Answers until there is nothing more to read."""
    torch.set_num_threads(int(sys.argv[1]))
    with tempfile.TemporaryDirectory() as folder:
        model = load(folder)
    model.encode(["a first text"] * 64, batch_size=64)
    for line in sys.stdin:
        texts = json.loads(line)
        start = time.perf_counter()
        model.encode(texts, batch_size=64, normalize_embeddings=True)
        print(time.perf_counter() - start, flush=True)


main()
