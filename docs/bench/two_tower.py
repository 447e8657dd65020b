"""The two-tower recommender in PyTorch, written as well as we know how: the peer
of refrain's own, on the processor and on a GPU.

    pip install torch && python docs/bench/two_tower.py --threads 2
    python docs/bench/two_tower.py --device cuda --compile

Each distinct user and item of a step goes through its tower once; the scorer is
in its factored form (five scalars a pair instead of two matrices of 192); Adam
is fused; nothing is copied between host and device inside an epoch. The world
is random and of the size of the paper's Apple data. Prints one JSON object a
line: what was measured, its seconds, and the peak memory of the process.
"""
import argparse
import json
import math
import resource
import time

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, HIDDEN, TOWER, TEXT = 96, (128, 64), 192, 384


class Tower(nn.Module):
    def __init__(self, sizes, text):
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, WIDTH) for size in sizes)
        self.text = nn.Linear(text, WIDTH) if text else None
        joined = WIDTH * (len(sizes) + bool(text))
        self.first, self.second = nn.Linear(joined, HIDDEN[0]), nn.Linear(*HIDDEN)
        self.last = nn.Linear(HIDDEN[1], TOWER)

    def forward(self, codes, text):
        parts = [table(codes[:, at]) for at, table in enumerate(self.embeddings)]
        if self.text is not None:
            parts.append(F.gelu(self.text(text)))
        x = self.first(torch.cat(parts, 1))
        x = self.second(F.gelu(F.layer_norm(x, (HIDDEN[0],))))
        return F.gelu(self.last(F.gelu(F.layer_norm(x, (HIDDEN[1],)))))


class DotCompress(nn.Module):
    """MLP(flatten(X (X^T W + b))) for X = [u; i]. Row r of the product is
    (r.u) W0 + (r.i) W1 + sum(r) b, so the first layer is a linear map of u.u,
    u.i, i.i, sum u and sum i."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(2, WIDTH)))
        self.bias = nn.Parameter(torch.zeros(WIDTH))
        self.first, self.second, self.last = nn.Linear(2 * WIDTH, HIDDEN[0]), nn.Linear(*HIDDEN), nn.Linear(HIDDEN[1], 1)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in HIDDEN)

    def factors(self):
        of_user, of_item = self.first.weight.split(WIDTH, 1)
        user_user, item_item = of_user @ self.weight[0], of_item @ self.weight[1]
        user_item = of_user @ self.weight[1] + of_item @ self.weight[0]
        return user_user, user_item, item_item, of_user @ self.bias, of_item @ self.bias

    def forward(self, users, items, user_of, item_of, user_item):
        """`user_of`, `item_of` index rows of `users` and `items`; `user_item` are their inner products."""
        uu, ui, ii, su, si = self.factors()
        base = (users * users).sum(1, keepdim=True) * uu + users.sum(1, keepdim=True) * su + self.first.bias
        part = (items * items).sum(1, keepdim=True) * ii + items.sum(1, keepdim=True) * si
        return self.head(base[user_of] + part[item_of] + user_item.unsqueeze(-1) * ui)

    def head(self, x):
        x = self.second(F.gelu(self.norms[0](x)))
        return F.gelu(self.last(F.gelu(self.norms[1](x))).squeeze(-1))


class Model(nn.Module):
    def __init__(self, world, scorer):
        super().__init__()
        self.users = Tower(world.user_sizes, 0)
        self.items = Tower(world.item_sizes, TEXT)
        self.scorer = DotCompress() if scorer == "dot_compress" else None

    def forward(self, user_codes, item_codes, item_text, user_of, item_of):
        """The margin loss. `user_of` [n], `item_of` [n, 41]: positives first."""
        users, items = self.users(user_codes, None), self.items(item_codes, item_text)
        pairs = (users[user_of].unsqueeze(1) * items[item_of]).sum(2)
        if self.scorer is not None:
            pairs = self.scorer(users, items, user_of.unsqueeze(1), item_of, pairs)
        return F.relu(1 - pairs[:, :1] + pairs[:, 1:]).mean()


class World:
    """Random users, items and interactions, on the device."""

    def __init__(self, users, items, interactions, device):
        draw = torch.Generator().manual_seed(0)
        self.users, self.items = users, items
        each = max(1, interactions // users)
        self.user_sizes, self.item_sizes = (users, 8000, 4000), (items, 800, 4000)
        codes = lambda sizes, count: torch.stack(
            [torch.arange(count) if at == 0 else torch.randint(size, (count,), generator=draw)
             for at, size in enumerate(sizes)], 1)
        self.user_codes, self.item_codes = codes(self.user_sizes, users).to(device), codes(self.item_sizes, items).to(device)
        self.text = (torch.randn(items, TEXT, generator=draw) * 0.05).to(device)
        has = torch.rand(users, min(items, 4 * each), generator=draw).argsort(1)[:, :each]
        self.pairs = torch.stack([torch.arange(users).repeat_interleave(each), (has * (items // (4 * each))).flatten()], 1)
        self.has = torch.zeros(users, items, dtype=torch.bool)
        self.has[self.pairs[:, 0], self.pairs[:, 1]] = True
        self.pairs, self.has = self.pairs.to(device), self.has.to(device)


def sample(world, positives, out_of_batch=20, in_batch=20):
    """`[n, 41]` items: the positive, uniform draws that the user does not have, and items of other positives. A draw
    that the user has is drawn again twice; what is left after that is negligible in time and kept."""
    users, count, device = positives[:, :1], len(positives), positives.device
    far = torch.randint(world.items, (count, out_of_batch), device=device)
    near = positives[torch.randint(count, (count, in_batch), device=device), 1]
    for _ in range(2):
        far = torch.where(world.has[users, far], torch.randint(world.items, far.shape, device=device), far)
        near = torch.where(world.has[users, near], positives[torch.randint(count, near.shape, device=device), 1], near)
    return torch.cat([positives[:, 1:], far, near], 1)


def peak():
    """Bytes: of the process, and of the GPU if there is one."""
    of_process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak_bytes": of_process, "gpu_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0}


def clock(device):
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def stepper(world, model, options, device):
    """A step of Adam on some positives; gives the loss."""
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-5, fused=True)
    forward = torch.compile(model) if options.compile else model

    def step(positives):
        pairs = sample(world, positives)
        if device.type == "cuda":
            # All of a table's rows through the tower would waste little; finding the distinct ones would wait for the GPU.
            users, user_of, items, item_of = world.all_users, positives[:, 0], world.all_items, pairs
        else:
            users, user_of = positives[:, 0].unique(return_inverse=True)
            items, item_of = pairs.unique(return_inverse=True)
        loss = forward(world.user_codes[users], world.item_codes[items], world.text[items], user_of, item_of)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def train(world, step, options, device):
    """Seconds of each step after the first five."""
    order = world.pairs[torch.randperm(len(world.pairs), device=device)]
    total = torch.zeros((), device=device)
    seconds, start = [], 0.0
    for number in range(5 + options.steps):
        if number == 5 or (number > 5 and device.type == "cpu"):
            now = clock(device)
            if number > 5:
                seconds.append(now - start)
            start = clock(device)
        at = number * options.batch % max(1, len(order) - options.batch)
        total += step(order[at: at + options.batch])
    if device.type == "cpu":
        seconds.append(clock(device) - start)
    else:
        seconds = [(clock(device) - start) / options.steps] * options.steps
    return sorted(seconds)[len(seconds) // 2], float(total)


def train_whole(world, model, step, options, device, tile):
    """Seconds of whole epochs with an evaluation after each, as `refrain device --check` times them."""
    start = clock(device)
    for _ in range(options.epochs):
        order = world.pairs[torch.randperm(len(world.pairs), device=device)]
        for positives in order.split(options.batch):
            step(positives)
        evaluate(world, model, tile)
    return clock(device) - start


@torch.no_grad()
def evaluate(world, model, tile):
    """The rank of one target of every user among the items that it does not have, in tiles."""
    users = model.users(world.user_codes, None)
    items = model.items(world.item_codes, world.text)
    targets = torch.randint(world.items, (world.users,), device=users.device)
    scorer = model.scorer
    if scorer is not None:
        uu, ui, ii, su, si = scorer.factors()
        part = (items * items).sum(1, keepdim=True) * ii + items.sum(1, keepdim=True) * si
    ranks = []
    for start in range(0, world.users, tile):
        vectors = users[start: start + tile]
        scores = vectors @ items.T
        if scorer is not None:
            base = (vectors * vectors).sum(1, keepdim=True) * uu + vectors.sum(1, keepdim=True) * su + scorer.first.bias
            scores = scorer.head(base.unsqueeze(1) + part.unsqueeze(0) + scores.unsqueeze(2) * ui)
        own = scores.gather(1, targets[start: start + tile].unsqueeze(1))
        scores.masked_fill_(world.has[start: start + tile], -math.inf)
        ranks.append(1 + (scores > own).sum(1))
    return torch.cat(ranks)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--users", type=int, default=8000)
    parser.add_argument("--items", type=int, default=6800)
    parser.add_argument("--interactions", type=int, default=114_000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=0, help="time so many whole epochs, an evaluation after each, too")
    parser.add_argument("--tile", type=int, help="users of an evaluation's tile; 4 on the processor, 256 on a GPU")
    parser.add_argument("--scorers", nargs="+", default=["dot_compress", "dot"], choices=["dot_compress", "dot"])
    parser.add_argument("--no-evaluation", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    world = World(options.users, options.items, options.interactions, device)
    world.all_users, world.all_items = torch.arange(world.users, device=device), torch.arange(world.items, device=device)
    for scorer in options.scorers:
        model = Model(world, scorer).to(device)
        step = stepper(world, model, options, device)
        seconds, loss = train(world, step, options, device)
        print(json.dumps({"what": "step", "scorer": scorer, "seconds": seconds, "loss": loss, **peak()}), flush=True)
        if options.no_evaluation:
            continue
        cheap = scorer == "dot"
        tile = options.tile or (256 if device.type == "cuda" or cheap else 4)
        rounds = 3 if device.type == "cuda" or cheap else 1
        for _ in range(rounds):
            start = clock(device)
            evaluate(world, model, tile)
            seconds = clock(device) - start
        print(json.dumps({"what": "evaluation", "scorer": scorer, "seconds": seconds, "tile": tile, **peak()}), flush=True)
        if options.epochs:
            seconds = train_whole(world, model, step, options, device, tile)
            print(json.dumps({"what": "training", "scorer": scorer, "epochs": options.epochs, "seconds": seconds}), flush=True)


main()
