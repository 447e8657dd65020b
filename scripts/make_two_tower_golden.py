"""Writes tests/data/two_tower_golden.json: the two-tower model in PyTorch, by
its definition and in 64 bits, for the tests of src/model/two_tower.

    pip install torch && python scripts/make_two_tower_golden.py

The weights follow a formula of their name and place, so the file holds only
results: losses, scores, and of each gradient its norm and eight entries.
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


def linear(weights, name, inputs, outputs):
    weights[name + ".weight"] = fill(name + ".weight", (outputs, inputs), 1 / math.sqrt(inputs))
    weights[name + ".bias"] = fill(name + ".bias", (outputs,), 1 / math.sqrt(inputs))


def make(compress):
    w = {}
    for side, count, kinds, text in [("user", USERS, 3, 0), ("item", ITEMS, 4, TEXT)]:
        tower = side + "_tower"
        w[tower + ".embeddings.id.weight"] = fill(tower + ".embeddings.id.weight", (count, 96), 1.0)
        w[tower + ".embeddings.kind.weight"] = fill(tower + ".embeddings.kind.weight", (kinds, 96), 1.0)
        if text:
            linear(w, tower + ".text", text, 96)
        linear(w, tower + ".mlp.0", 96 * (3 if text else 2), 128)
        linear(w, tower + ".mlp.3", 128, 64)
        linear(w, tower + ".mlp.6", 64, 192)
    if compress:
        w["scorer.compress.weight"] = fill("scorer.compress.weight", (2, 96), 0.05)
        w["scorer.compress.bias"] = fill("scorer.compress.bias", (96,), 0.1)
        linear(w, "scorer.mlp.0", 192, 128)
        linear(w, "scorer.mlp.3", 128, 64)
        w["scorer.mlp.6.weight"] = fill("scorer.mlp.6.weight", (1, 64), 0.5)
        w["scorer.mlp.6.bias"] = fill("scorer.mlp.6.bias", (1,), 0.1, 4.5)
        for at, width in [(1, 128), (4, 64)]:
            w[f"scorer.mlp.{at}.weight"] = fill(f"scorer.mlp.{at}.weight", (width,), 0.3, 1.5)
            w[f"scorer.mlp.{at}.bias"] = fill(f"scorer.mlp.{at}.bias", (width,), 0.3)
    return w


def layer(w, name, x):
    return F.linear(x, w[name + ".weight"], w[name + ".bias"])


def tower(w, side, text):
    name = side + "_tower"
    codes = torch.tensor(CODES[side])
    parts = [w[name + ".embeddings.id.weight"], w[name + ".embeddings.kind.weight"][codes]]
    if text is not None:
        parts.append(F.gelu(layer(w, name + ".text", text)))
    x = layer(w, name + ".mlp.0", torch.cat(parts, 1))
    x = layer(w, name + ".mlp.3", F.gelu(F.layer_norm(x, (128,))))
    return F.gelu(layer(w, name + ".mlp.6", F.gelu(F.layer_norm(x, (64,)))))


def score(w, u, i, compress):
    if not compress:
        return (u * i).sum(1)
    x = torch.stack([u, i], 1)
    c = x @ (x.transpose(1, 2) @ w["scorer.compress.weight"] + w["scorer.compress.bias"])
    y = layer(w, "scorer.mlp.0", c.flatten(1))
    y = F.gelu(F.layer_norm(y, (128,), w["scorer.mlp.1.weight"], w["scorer.mlp.1.bias"]))
    y = layer(w, "scorer.mlp.3", y)
    y = F.gelu(F.layer_norm(y, (64,), w["scorer.mlp.4.weight"], w["scorer.mlp.4.bias"]))
    return F.gelu(layer(w, "scorer.mlp.6", y).squeeze(1))


def loss_of(w, text, compress):
    users, items = tower(w, "user", None), tower(w, "item", text)
    u = torch.tensor([p[0] for p in POSITIVES])
    i = torch.tensor([[p[1], *n] for p, n in zip(POSITIVES, NEGATIVES)])
    s = score(w, users[u].repeat_interleave(4, 0), items[i.flatten()], compress).reshape(4, 4)
    return torch.clamp(1 - s[:, :1] + s[:, 1:], min=0).mean(), s, users, items


cases = []
for compress in [True, False]:
    w = make(compress)
    text = fill("text", (ITEMS, TEXT), 0.5).detach()
    optimiser = torch.optim.Adam(w.values(), lr=0.0001)
    case = {"compress": compress, "losses": []}
    for step in range(4):
        optimiser.zero_grad()
        loss, scores, users, items = loss_of(w, text, compress)
        loss.backward()
        case["losses"].append(loss.item())
        if step == 0:
            case["scores"] = scores.flatten().tolist()
            case["user_vector"] = users[3].tolist()[:12]
            case["item_vector"] = items[6].tolist()[:12]
            case["gradients"] = {}
            for name, value in w.items():
                flat = value.grad.flatten()
                places = [k * (len(flat) - 1) // 7 for k in range(8)]
                case["gradients"][name] = {"norm": flat.norm().item(), "places": places, "entries": flat[places].tolist()}
        optimiser.step()
    cases.append(case)

path = pathlib.Path(__file__).parent.parent / "tests" / "data" / "two_tower_golden.json"
path.write_text(json.dumps({"torch": torch.__version__, "cases": cases}, indent=1) + "\n")
