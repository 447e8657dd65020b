"""Writes tests/data/two_tower_golden.json: the two-tower model in PyTorch, by
its definition and in 64 bits, for the tests of src/model/two_tower.

    pip install torch && python scripts/make_two_tower_golden.py

The weights follow a formula of their name and place, so the file holds only
results: losses, scores, and of each gradient eight entries and the largest.
"""
import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
USERS, ITEMS, TEXT = 5, 7, 10
POSITIVES = [(0, 1), (3, 6), (4, 0), (0, 2)]
NEGATIVES = [[3, 4, 6], [0, 1, 0], [5, 2, 3], [6, 5, 5]]
CORRECTIONS = [[-1.5, -0.25, -3.0], [-2.0, -0.5, -1.0], [-0.75, -4.0, -2.5], [-1.25, -3.5, -0.125]]
PAPER = {"embedding": 96, "hidden": [128, 64], "tower": 192, "compress": 96, "scorer_hidden": [128, 64]}
ODD = {"embedding": 20, "hidden": [33, 40], "tower": 24, "compress": 10, "scorer_hidden": [17, 12]}
CODES = {"user": [(i * 2) % 3 for i in range(USERS)], "item": [(i * 3) % 4 for i in range(ITEMS)]}


def scramble(x):
    x = x * 2654435761 % 2**32
    x = (x ^ x >> 15) * 2246822519 % 2**32
    return x ^ x >> 13


def fill(name, shape, scale, centre=0.0):
    salt = sum((i + 1) * b for i, b in enumerate(name.encode())) % 1009
    count = math.prod(shape)
    values = [(scramble(i * 1009 + salt) / 2**32 - 0.5) * 2 * scale + centre for i in range(count)]
    return torch.tensor(values).to(torch.float32).to(torch.float64).reshape(shape).requires_grad_()


def linear(weights, name, inputs, outputs, times=1):
    weights[name + ".weight"] = fill(name + ".weight", (outputs, inputs), times / math.sqrt(inputs))
    weights[name + ".bias"] = fill(name + ".bias", (outputs,), times / math.sqrt(inputs))


def make(compress, widths):
    e, (first, second), out = widths["embedding"], widths["hidden"], widths["tower"]
    w = {}
    for side, count, kinds, text in [("user", USERS, 3, 0), ("item", ITEMS, 4, TEXT)]:
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
    codes = torch.tensor(CODES[side])
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
    u = torch.tensor([p[0] for p in POSITIVES])
    i = torch.tensor([[p[1], *n] for p, n in zip(POSITIVES, NEGATIVES)])
    s = score(w, users[u].repeat_interleave(4, 0), items[i.flatten()], case, active).reshape(4, 4)
    if case["loss"] == "margin":
        return torch.clamp(1 - s[:, :1] + s[:, 1:], min=0).mean(), s, users, items
    logits = s / case["temperature"]
    if case["loss"] == "softmax_logq":
        logits = logits - F.pad(torch.tensor(CORRECTIONS), (1, 0))
    return F.cross_entropy(logits, torch.zeros(4, dtype=torch.long)), s, users, items


def case(compress=True, gelu=False, relu=False, loss="margin", widths=PAPER, temperature=1.0):
    return {"compress": compress, "gelu": gelu, "relu": relu, "loss": loss, "widths": widths, "temperature": temperature}


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
]:
    w = make(case["compress"], case["widths"])
    text = fill("text", (ITEMS, TEXT), 0.5).detach()
    optimiser = torch.optim.Adam(w.values(), lr=0.0001)
    case["losses"] = []
    for step in range(4):
        optimiser.zero_grad()
        loss, scores, users, items = loss_of(w, text, case)
        loss.backward()
        case["losses"].append(loss.item())
        if step == 0:
            case["scores"] = scores.flatten().tolist()
            case["user_vector"] = users[3].tolist()[:8]
            case["item_vector"] = items[6].tolist()[:8]
            case["gradients"] = {}
            for name, value in w.items():
                flat = value.grad.flatten()
                places = [k * (len(flat) - 1) // 7 for k in range(8)] + [flat.abs().argmax().item()]
                entries = [float(f"{entry:.9e}") for entry in flat[places].tolist()]
                case["gradients"][name] = {"places": places, "entries": entries}
        optimiser.step()
    cases.append(case)

path = pathlib.Path(__file__).parent.parent / "tests" / "data" / "two_tower_golden.json"
text = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
path.write_text(f'{{"torch":"{torch.__version__}","cases":[\n{text}\n]}}\n')
