"""A real OpenAI-compatible server that is not ours: llama.cpp's, from the Python
package `xllamacpp`, with a tiny model whose weights are random and made here.

    python3 -m venv VENV && VENV/bin/pip install xllamacpp gguf
    VENV/bin/python scripts/chat_server.py FOLDER

writes the model into FOLDER, starts a server for chat and embeddings on a free
port of the loopback, prints its address as one line, and stops when its
standard input ends. `tests/it/chat_server.rs` runs it.
"""

import pathlib
import sys

import gguf
import numpy
import xllamacpp

WIDTH, HEADS, LAYERS, INNER, CONTEXT = 64, 4, 2, 128, 512
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"


def write_model(path: pathlib.Path) -> None:
    """A Llama of two layers over bytes; the same weights each time."""
    tokens = [b"<unk>", b"<s>", b"</s>"] + [f"<0x{byte:02X}>".encode() for byte in range(256)]
    kinds = [gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.BYTE] * 256
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    random = numpy.random.default_rng(0)

    def weights(name: str, *shape: int) -> None:
        scale = 1.0 if len(shape) == 1 else shape[-1] ** -0.5
        values = numpy.ones(shape) if len(shape) == 1 else random.normal(0, scale, shape)
        writer.add_tensor(f"{name}.weight", values.astype(numpy.float32))

    weights("token_embd", len(tokens), WIDTH)
    weights("output_norm", WIDTH)
    weights("output", len(tokens), WIDTH)
    for layer in range(LAYERS):
        at = f"blk.{layer}"
        weights(f"{at}.attn_norm", WIDTH)
        weights(f"{at}.ffn_norm", WIDTH)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights(f"{at}.{part}", WIDTH, WIDTH)
        weights(f"{at}.ffn_gate", INNER, WIDTH)
        weights(f"{at}.ffn_up", INNER, WIDTH)
        weights(f"{at}.ffn_down", WIDTH, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def server(model: pathlib.Path) -> xllamacpp.Server:
    """The server on a free port, with one thread."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {"tiny"}
    params.n_ctx = CONTEXT
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.warmup = False
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 2
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return xllamacpp.Server(params)


def main() -> None:
    model = pathlib.Path(sys.argv[1]) / "tiny.gguf"
    write_model(model)
    running = server(model)
    print(f"{running.listening_address}/v1", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
