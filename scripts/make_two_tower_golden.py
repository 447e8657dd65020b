"""Writes tests/data/two_tower_golden.json: the two-tower model in PyTorch, by
its definition and in 64 bits, for the tests of src/model/two_tower.

    pip install torch && python scripts/make_two_tower_golden.py

Weights, text and batches follow formulas of names and places, so the file holds
only results: the losses, and of whole tensors (vectors, scores, each gradient,
each weight after Adam's steps) the norm and eight projections on random signs.
The root of the mean square of how far eight projections are off estimates the
norm of the difference of two tensors, to a quarter or so. Beside them stands how
far PyTorch itself is off in 32 bits, relative to the norm: where the gradients of
positives and negatives nearly cancel, no 32-bit computation can be nearer.
"""
import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
SMALL = {"users": 5, "items": 7, "text": 10, "positives": 4}
# More rows and positives than the kernels take at once, and text as long as that of bge-small.
LARGE = {"users": 600, "items": 500, "text": 384, "positives": 700}
NEGATIVES, PROJECTIONS, STEPS = 3, 8, 4
PAPER = {"embedding": 96, "hidden": [128, 64], "tower": 192, "compress": 96, "scorer_hidden": [128, 64]}
ODD = {"embedding": 20, "hidden": [33, 40], "tower": 24, "compress": 10, "scorer_hidden": [17, 12]}


def scramble(x):
    x = x * 2654435761 & 0xFFFFFFFF
    x = (x ^ x >> 15) * 2246822519 & 0xFFFFFFFF
    return x ^ x >> 13


def summary(tensor, single):
    flat = tensor.flatten()
    off = (single.double().flatten() - flat).norm() / flat.norm() if flat.norm() > 1e-30 else 0.0
    places = torch.arange(len(flat)) * PROJECTIONS
    signs = [1.0 - 2.0 * (scramble(places + k) >> 16 & 1) for k in range(PROJECTIONS)]
    numbers = [flat.norm().item(), *((sign * flat).sum().item() for sign in signs)]
    return [*(float(f"{number:.9e}") for number in numbers), float(f"{float(off):.1e}")]


def pairs(size):
    at, slot = torch.arange(size["positives"]), torch.arange(1 + NEGATIVES)
    places = at[:, None] * 64 + slot
    users = scramble(at * 3 + 1) % size["users"]
    return users, scramble(places + 7) % size["items"], -(scramble(places[:, 1:] + 11) % 32) / 8 - 0.125


def fill(name, shape, scale, centre=0.0):
    salt = sum((i + 1) * b for i, b in enumerate(name.encode())) % 1009
    count = math.prod(shape)
    values = (scramble(torch.arange(count) * 1009 + salt) / 2**32 - 0.5) * 2 * scale + centre
    return values.to(torch.float32).to(torch.float64).reshape(shape).requires_grad_()


def linear(weights, name, inputs, outputs, times=1):
    weights[name + ".weight"] = fill(name + ".weight", (outputs, inputs), times / math.sqrt(inputs))
    weights[name + ".bias"] = fill(name + ".bias", (outputs,), times / math.sqrt(inputs))


def make(compress, widths, size):
    e, (first, second), out = widths["embedding"], widths["hidden"], widths["tower"]
    w = {}
    for side, count, kinds, text in [("user", size["users"], 3, 0), ("item", size["items"], 4, size["text"])]:
        tower = side + "_tower"
        w[tower + ".embeddings.id.weight"] = fill(tower + ".embeddings.id.weight", (count, e), 1.0)
        w[tower + ".embeddings.kind.weight"] = fill(tower + ".embeddings.kind.weight", (kinds, e), 1.0)
        if text:
            linear(w, tower + ".text", text, e)
        linear(w, tower + ".mlp.0", e * (3 if text else 2), first)
        linear(w, tower + ".mlp.3", first, second)
        # Vectors that differ: else the gradients of a positive and its negatives cancel.
        linear(w, tower + ".mlp.6", second, out, 8)
    if compress:
        c, (first, second) = widths["compress"], widths["scorer_hidden"]
        w["scorer.compress.weight"] = fill("scorer.compress.weight", (2, c), 0.05)
        w["scorer.compress.bias"] = fill("scorer.compress.bias", (c,), 0.1)
        linear(w, "scorer.mlp.0", 2 * c, first)
        linear(w, "scorer.mlp.3", first, second)
        w["scorer.mlp.6.weight"] = fill("scorer.mlp.6.weight", (1, second), 0.5)
        w["scorer.mlp.6.bias"] = fill("scorer.mlp.6.bias", (1,), 0.1, 4.5)
        for at, width in [(1, first), (4, second)]:
            w[f"scorer.mlp.{at}.weight"] = fill(f"scorer.mlp.{at}.weight", (width,), 0.3, 1.5)
            w[f"scorer.mlp.{at}.bias"] = fill(f"scorer.mlp.{at}.bias", (width,), 0.3)
    return w


def layer(w, name, x):
    return F.linear(x, w[name + ".weight"], w[name + ".bias"])


def normal(w, x, name=None):
    return F.layer_norm(x, x.shape[-1:], *([w[name + ".weight"], w[name + ".bias"]] if name else []))


def tower(w, side, text, active):
    name = side + "_tower"
    count = len(w[name + ".embeddings.id.weight"])
    codes = torch.arange(count) * 2 % 3 if side == "user" else torch.arange(count) * 3 % 4
    parts = [w[name + ".embeddings.id.weight"], w[name + ".embeddings.kind.weight"][codes]]
    if text is not None:
        parts.append(active(layer(w, name + ".text", text)))
    x = layer(w, name + ".mlp.0", torch.cat(parts, 1))
    x = layer(w, name + ".mlp.3", active(normal(w, x)))
    return active(layer(w, name + ".mlp.6", active(normal(w, x))))


def score(w, u, i, case, active):
    if case["compress"]:
        x = torch.stack([u, i], 1)
        c = x @ (x.transpose(1, 2) @ w["scorer.compress.weight"] + w["scorer.compress.bias"])
        y = active(normal(w, layer(w, "scorer.mlp.0", c.flatten(1)), "scorer.mlp.1"))
        y = active(normal(w, layer(w, "scorer.mlp.3", y), "scorer.mlp.4"))
        s = layer(w, "scorer.mlp.6", y).squeeze(1)
    else:
        s = (u * i).sum(1)
    return F.gelu(s) if case["gelu"] else s


def loss_of(w, text, case):
    active = F.relu if case["relu"] else F.gelu
    users, items = tower(w, "user", None, active), tower(w, "item", text, active)
    u, i, corrections = pairs(case["size"])
    s = score(w, users[u].repeat_interleave(1 + NEGATIVES, 0), items[i.flatten()], case, active).reshape(i.shape)
    if case["loss"] == "margin":
        return torch.clamp(1 - s[:, :1] + s[:, 1:], min=0).mean(), s, users, items
    logits = s / case["temperature"]
    if case["loss"] == "softmax_logq":
        logits = logits - F.pad(corrections.to(s.dtype), (1, 0))
    return F.cross_entropy(logits, torch.zeros(len(u), dtype=torch.long)), s, users, items


def case(compress=True, gelu=False, relu=False, loss="margin", widths=PAPER, temperature=1.0, size=SMALL):
    return {
        "compress": compress, "gelu": gelu, "relu": relu, "loss": loss,
        "widths": widths, "temperature": temperature, "size": size,
    }


def train(case, dtype):
    """The losses, and by group the tensors of the first step and the weights after the last."""
    size = case["size"]
    w = make(case["compress"], case["widths"], size)
    w = {name: value.detach().to(dtype).requires_grad_() for name, value in w.items()}
    text = fill("text", (size["items"], size["text"]), 0.5).detach().to(dtype)
    optimiser = torch.optim.Adam(w.values(), lr=0.0001)
    losses, tensors = [], {}
    for step in range(STEPS):
        optimiser.zero_grad()
        loss, scores, users, items = loss_of(w, text, case)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            forward = {"user_vectors": users, "item_vectors": items, "scores": scores}
            tensors["forward"] = {name: value.detach() for name, value in forward.items()}
            tensors["gradients"] = {name: value.grad.clone() for name, value in w.items()}
        optimiser.step()
    tensors["weights"] = {name: value.detach() for name, value in w.items()}
    return losses, tensors


cases = []
for case in [
    case(gelu=True),
    case(),
    case(compress=False),
    case(loss="softmax", temperature=0.5),
    case(compress=False, loss="softmax_logq", temperature=2.0),
    case(gelu=True, loss="softmax_logq", widths=ODD),
    case(relu=True, widths=ODD),
    case(compress=False, gelu=True, widths=ODD),
    case(size=LARGE),
    case(compress=False, loss="softmax_logq", temperature=2.0, size=LARGE),
]:
    case["losses"], known = train(case, torch.float64)
    _, single = train(case, torch.float32)
    for group, tensors in known.items():
        case[group] = {name: summary(value, single[group][name]) for name, value in tensors.items()}
    cases.append(case)

path = pathlib.Path(__file__).parent.parent / "tests" / "data" / "two_tower_golden.json"
text = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
path.write_text(f'{{"torch":"{torch.__version__}","cases":[\n{text}\n]}}\n')
