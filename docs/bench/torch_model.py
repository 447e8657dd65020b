"""The two towers as a PyTorch module, built from a file of `refrain weights export`.

    from torch_model import TwoTower
    model, tensors, about = TwoTower.load("model.safetensors")

Names and shapes are the file's; docs/weights.md shows how codes and text come in.
"""
import json

import torch
from safetensors import safe_open
from torch import nn

# Tensors of a file that are no weights.
BESIDE = {"user_vectors", "item_vectors", "id_check", "scorer.gelu", "scorer.relu", "selected_on_test"}


def mlp(state, name, activation, affine, last):
    """Linear, LayerNorm, activation, Linear, LayerNorm, activation, Linear (, activation)."""
    layers = []
    for at in (0, 3, 6):
        outputs, inputs = state[f"{name}.{at}.weight"].shape
        layers.append(nn.Linear(inputs, outputs))
        if at < 6:
            layers += [nn.LayerNorm(outputs, elementwise_affine=affine), activation()]
    return nn.Sequential(*layers, *([activation()] if last else []))


class Tower(nn.Module):
    def __init__(self, state, name, activation):
        super().__init__()
        prefix = f"{name}.embeddings."
        features = [key[len(prefix):-len(".weight")] for key in state if key.startswith(prefix)]
        # The entity's own id first, then the settings' order, which `about` tells.
        self.embeddings = nn.ModuleDict({f: nn.Embedding(*state[f"{prefix}{f}.weight"].shape) for f in features})
        text = state.get(f"{name}.text.weight")
        self.text = None if text is None else nn.Linear(text.shape[1], text.shape[0])
        self.activation = activation()
        self.mlp = mlp(state, f"{name}.mlp", activation, affine=False, last=True)

    def forward(self, codes, text=None):
        """codes: feature to `[n]` codes, the id first, then as in the settings; text `[n, width]`."""
        parts = [self.embeddings[feature](code) for feature, code in codes.items()]
        if self.text is not None:
            parts.append(self.activation(self.text(text)))
        return self.mlp(torch.cat(parts, 1))


class DotCompress(nn.Module):
    def __init__(self, state, activation):
        super().__init__()
        self.compress = nn.ParameterDict({
            "weight": torch.empty(state["scorer.compress.weight"].shape),
            "bias": torch.empty(state["scorer.compress.bias"].shape),
        })
        self.mlp = mlp(state, "scorer.mlp", activation, affine=True, last=False)

    def forward(self, users, items):
        x = torch.stack([users, items], 1)
        c = x @ (x.transpose(1, 2) @ self.compress["weight"] + self.compress["bias"])
        return self.mlp(c.flatten(1)).squeeze(1)


class TwoTower(nn.Module):
    def __init__(self, state):
        super().__init__()
        activation = nn.ReLU if "scorer.relu" in state else nn.GELU
        self.user_tower = Tower(state, "user_tower", activation)
        self.item_tower = Tower(state, "item_tower", activation)
        self.scorer = DotCompress(state, activation) if "scorer.compress.weight" in state else None
        self.gelu = bool(state["scorer.gelu"][0] > 0)
        self.load_state_dict({name: value for name, value in state.items() if name not in BESIDE})

    def score(self, users, items):
        """Scores of pairs of vectors, `[n, width]` each."""
        s = (users * items).sum(1) if self.scorer is None else self.scorer(users, items)
        return nn.functional.gelu(s) if self.gelu else s

    @classmethod
    def load(cls, path):
        """The module, all tensors of the file, and what refrain wrote of them."""
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}
            about = json.loads((file.metadata() or {}).get("refrain", "{}"))
        if (about.get("settings") or {}).get("activation") == "relu":
            state["scorer.relu"] = torch.ones(1)
        return cls(state), state, about
