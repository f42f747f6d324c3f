"""Compares pruned runs of Fovea with an eager decoder written from the methods' own formulas.

    pruned.py [--count N] [--seed S] [--steps N]

Fresh random checkpoints answer under AdaptInfer, FastV with and without debiasing, and SGL with a
model that guides itself, in both position modes. The other side is plain PyTorch in float64 over
the weights that transformers loads: it holds every attention matrix whole, keeps every layer's keys
and values as they were, and shares no code with Fovea. Checked for every run: the kept tokens of
every stage, the generated tokens and every row of logits; for SGL also confidence and consistency.
Run it as `bash tests/parity/parity.sh --pruned`. Exit status as there.
"""

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy
import torch

from parity import CannotRun, LOGIT_TOLERANCE, ROOT, ask_fovea

PROMPTS = {
    "one picture": ("USER: <image>\nwhere is the blue cup? ASSISTANT:", 1),
    "two pictures": ("USER: <image>\nfirst, <image> second. how many dogs are there? ASSISTANT:", 2),
}
DEBIAS_SIGMA = 1.2
CONSISTENCY_RATIO = 0.05


def best(scores, count):
    """Indices of the `count` largest, ascending; among equals the lower index."""
    order = sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i))
    return sorted(order[:count])


@dataclasses.dataclass
class Rows:
    """What a layer works on: hidden states, rotary positions, and which prompt token each row is."""

    x: torch.Tensor
    positions: list
    visual: list  # per row: raster index among the prompt's visual tokens, or -1
    text: list  # per row: whether it is text behind the first picture (before it: the system prompt)

    def take(self, kept_visual, compact):
        kept = set(kept_visual)
        index = [i for i, v in enumerate(self.visual) if v < 0 or v in kept]
        positions = list(range(len(index))) if compact else [self.positions[i] for i in index]
        return Rows(self.x[index], positions, [self.visual[i] for i in index], [self.text[i] for i in index])


class EagerDecoder:
    def __init__(self, reference):
        model = reference.model.double()
        self.reference = reference
        self.layers = model.model.language_model.layers
        self.norm = model.model.language_model.norm
        self.embed = model.model.language_model.embed_tokens
        self.head = model.lm_head
        text = reference.config.text_config
        self.heads, self.kv_heads = text.num_attention_heads, text.num_key_value_heads
        self.head_dim = getattr(text, "head_dim", None) or text.hidden_size // self.heads
        theta = getattr(text, "rope_theta", None) or text.rope_parameters["rope_theta"]
        self.frequencies = theta ** (-torch.arange(0, self.head_dim, 2, dtype=torch.float64) / self.head_dim)

    def rotate(self, x, positions):  # x [heads, n, head_dim]
        angles = torch.tensor(positions, dtype=torch.float64)[:, None] * self.frequencies
        cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)
        half = self.head_dim // 2
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin

    def layer(self, number, x, positions, cache):
        """Output and attention [heads, rows, keys] of one layer; the cache of that layer grows."""
        block = self.layers[number]
        normed = block.input_layernorm(x)
        split = lambda t, heads: t.view(len(x), heads, self.head_dim).transpose(0, 1)
        query = self.rotate(split(block.self_attn.q_proj(normed), self.heads), positions)
        key = self.rotate(split(block.self_attn.k_proj(normed), self.kv_heads), positions)
        value = split(block.self_attn.v_proj(normed), self.kv_heads)
        if number in cache:
            key, value = torch.cat([cache[number][0], key], 1), torch.cat([cache[number][1], value], 1)
        cache[number] = (key, value)
        groups = self.heads // self.kv_heads
        scores = query @ key.repeat_interleave(groups, 0).transpose(1, 2) / self.head_dim**0.5
        seen = torch.ones(len(x), key.shape[1], dtype=torch.bool).tril(key.shape[1] - len(x))
        attention = scores.masked_fill(~seen, float("-inf")).softmax(-1)
        mixed = (attention @ value.repeat_interleave(groups, 0)).transpose(0, 1).reshape(len(x), -1)
        x = x + block.self_attn.o_proj(mixed)
        return x + block.mlp(block.post_attention_layernorm(x)), attention

    def cells(self, ids):
        """Of every visual token its index among the cells of all pictures, which a class token (-1) is not."""
        vision = self.reference.config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2
        visual = ids.count(self.reference.image_token)
        if visual % patches == 0:
            return list(range(visual))
        tokens = patches + 1
        return [i // tokens * patches + i % tokens - 1 if i % tokens else -1 for i in range(visual)]

    def logits(self, x):
        return self.head(self.norm(x))

    def prompt(self, ids, pixels):
        x = self.embed(torch.tensor(ids))
        image = [i for i, token in enumerate(ids) if token == self.reference.image_token]
        features = self.reference.image_features(pixels.double())
        x[image] = features.reshape(-1, features.shape[-1])
        visual = [-1] * len(ids)
        for index, i in enumerate(image):
            visual[i] = index
        return Rows(x, list(range(len(ids))), visual, [i > image[0] and visual[i] < 0 for i in range(len(ids))])

    @torch.no_grad()
    def run(self, ids, pixels, policy, compact, steps, forced=None):
        """Greedy tokens (or the forced ones), their logits, and the kept tokens of every stage."""
        rows, cache, stages, previous = self.prompt(ids, pixels), {}, [], None
        for number in range(len(self.layers)):
            kept = policy.before(number, rows, previous)
            if kept is not None:
                stages.append(kept)
                rows = rows.take(kept, compact)
            x, previous = self.layer(number, rows.x, rows.positions, cache)
            rows = dataclasses.replace(rows, x=x)
            kept = policy.after(number, rows, previous)
            if kept is not None:
                stages.append(kept)
                rows = rows.take(kept, compact)
        row, tokens, logits = self.logits(rows.x[-1:])[0], [], []
        for step in range(steps):
            tokens.append(int(row.argmax()) if forced is None else forced[step])
            logits.append(row)
            if len(tokens) == steps or (forced is None and tokens[-1] == 2):
                break
            x = self.embed(torch.tensor(tokens[-1:]))
            for number in range(len(self.layers)):
                position = cache[number][0].shape[1] if compact else len(ids) + step
                x, attention = self.layer(number, x, [position], cache)
                policy.decoded(number, attention)
            row = self.logits(x)[0]
        return tokens, torch.stack(logits), stages


class Policy:
    def before(self, layer, rows, previous):
        return None

    def after(self, layer, rows, attention):
        return None

    def decoded(self, layer, attention):
        pass


def columns(rows):
    return [i for i, v in enumerate(rows.visual) if v >= 0]


def chosen(rows, scores, count):
    present = [rows.visual[i] for i in columns(rows)]
    return [present[i] for i in best(scores, count)]


class AdaptInfer(Policy):  # arXiv 2508.06084
    def __init__(self, counts):
        self.counts = counts  # by layer

    def after(self, layer, rows, attention):
        if layer not in self.counts:
            return None
        text = [i for i, after in enumerate(rows.text) if after]
        among = attention[:, text][:, :, text]
        affinity = among + among.transpose(1, 2) - torch.diag_embed(among.diagonal(dim1=1, dim2=2))
        weights = affinity.sum(1)  # [heads, text]
        scores = (weights[:, :, None] * attention[:, text][:, :, columns(rows)]).sum((0, 1))
        return chosen(rows, scores, self.counts[layer])


class FastV(Policy):  # arXiv 2403.06764; the trend by index: arXiv 2508.17807
    def __init__(self, layer, count, sigma, cells):
        self.layer, self.count, self.sigma, self.cells = layer, count, sigma, cells

    def before(self, layer, rows, previous):
        if layer != self.layer:
            return None
        scores = previous[:, -1].mean(0)[columns(rows)]
        index = torch.tensor([self.cells[rows.visual[i]] for i in columns(rows)], dtype=torch.float64)
        weights = torch.exp(-self.sigma * index / max(max(self.cells), 1))
        return chosen(rows, scores * weights.where(index >= 0, torch.ones(())), self.count)


class Cut(Policy):
    def __init__(self, layer, scores, count):
        self.layer, self.scores, self.count = layer, scores, count

    def before(self, layer, rows, previous):
        return chosen(rows, self.scores, self.count) if layer == self.layer else None


class Importance(Policy):
    """Attention that visual tokens draw from the text and from every decoded row."""

    def __init__(self):
        self.sums = 0

    def after(self, layer, rows, attention):
        self.columns = columns(rows)
        text = [i for i, after in enumerate(rows.text) if after]
        self.sums = self.sums + attention[:, text][:, :, self.columns].sum((0, 1))

    def decoded(self, layer, attention):
        self.sums = self.sums + attention[:, 0, self.columns].sum(0)


def self_guided(eager, ids, pixels, steps, layer_share, ratio):
    """SGL (arXiv 2412.03324) with one model on both sides."""
    importance = Importance()
    tokens, logits, _ = eager.run(ids, pixels, importance, False, steps)
    confidence = float(logits.softmax(-1).max(-1).values.log().mean().exp())
    visual = ids.count(eager.reference.image_token)
    few = Cut(0, importance.sums, int(CONSISTENCY_RATIO * visual))
    _, forced, _ = eager.run(ids, pixels, few, False, len(tokens), tokens)
    consistency = float(forced.softmax(-1)[range(len(tokens)), tokens].log().sum().exp())
    cut = Cut(int(len(eager.layers) * layer_share), importance.sums, int(ratio * visual))
    return eager.run(ids, pixels, cut, False, steps), {"confidence": confidence, "consistency": consistency}


def settings(visual):
    """Name, options of the command, and what the eager side does."""
    counts = {1: visual * 5 // 8, 3: visual // 6}
    many = [str(counts[1]), str(counts[3])]
    for mode in ("compact", "original"):
        yield (
            f"adaptinfer {mode}",
            ["--prune", "adaptinfer", "--prune-layers", "1,3", "--prune-keep", ",".join(many), "--prune-positions", mode],
            lambda eager, ids, pixels, steps, m=mode: (
                eager.run(ids, pixels, AdaptInfer(counts), m == "compact", steps), {}),
        )
        for sigma in (0, DEBIAS_SIGMA):
            debias = ["--debias", str(sigma), "--debias-padding", "off"] if sigma else []
            yield (
                f"fastv {mode}" + (" debiased" if sigma else ""),
                ["--prune", "fastv", "--prune-layers", "2", "--prune-keep", str(visual // 3), "--prune-positions", mode]
                + debias,
                lambda eager, ids, pixels, steps, m=mode, s=sigma: (
                    eager.run(ids, pixels, FastV(2, visual // 3, s, eager.cells(ids)), m == "compact", steps), {}),
            )
    yield (
        "sgl, its own guide",
        ["--guide", "MODEL", "--guide-layer", "0.4", "--guide-ratio", "0.3"],
        lambda eager, ids, pixels, steps: self_guided(eager, ids, pixels, steps, 0.4, 0.3),
    )


def differences(answer, logits, expected, guide):
    tokens, rows, stages = expected
    found = []
    kept = [stage["kept"] for stage in answer["visual_tokens"]["stages"]]
    if kept != stages:
        found.append("kept tokens differ")
    if answer["token_ids"] != tokens:
        found.append(f"tokens {answer['token_ids']} instead of {tokens}")
        return found, float("nan")
    rows = rows.numpy()
    error = float((numpy.linalg.norm(logits - rows, axis=1) / numpy.linalg.norm(rows, axis=1)).max())
    if not error <= LOGIT_TOLERANCE:
        found.append("logits differ")
    for key, value in guide.items():
        if not abs(answer["guide"][key] - value) <= LOGIT_TOLERANCE * max(value, 1e-9):
            found.append(f"{key} {answer['guide'][key]} instead of {value}")
    return found, error


def check(fovea, count, seed, steps):
    from random_llava import random_picture, random_recipes, train_tokenizer, write_checkpoint
    from reference import Reference

    torch.set_num_threads(min(4, os.cpu_count() or 1))
    tokenizer, agreed, runs = train_tokenizer(), 0, 0
    pictures = [random_picture(seed, 90, 64), random_picture(seed + 1, 40, 52)]
    print(f"{count} random checkpoints from seed {seed}, {steps} tokens each")
    for recipe in random_recipes(seed, count):
        recipe = dataclasses.replace(recipe, layers=6, image_size=112)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / recipe.name
            write_checkpoint(recipe, folder, tokenizer)
            eager = EagerDecoder(Reference(folder))
            print(f"{recipe.name}: {recipe.describe()}")
            for case, (prompt, shown) in PROMPTS.items():
                pixels = eager.reference.pixel_values(pictures[:shown])
                plain, _ = ask_fovea(fovea, folder, pictures[:shown], prompt, 1, scratch)
                for name, options, expect in settings(plain["visual_tokens"]["initial"]):
                    options = [str(folder) if option == "MODEL" else option for option in options]
                    answer, logits = ask_fovea(fovea, folder, pictures[:shown], prompt, steps, scratch, options)
                    expected, guide = expect(eager, answer["prompt_token_ids"], pixels, steps)
                    found, error = differences(answer, logits, expected, guide)
                    runs += 1
                    agreed += not found
                    print(f"  {case:<12}  {name:<26} worst {error:.1e}  {'; '.join(found) or 'equal'}")
    print(f"{agreed} of {runs} runs equal the eager decoder")
    return agreed == runs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pruned", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=6, help="random checkpoints (default 6)")
    parser.add_argument("--seed", type=int, help="of the checkpoints (default: the clock)")
    parser.add_argument("--steps", type=int, default=8, help="tokens to compare (default 8)")
    parser.add_argument("--fovea", default=os.environ.get("FOVEA", str(ROOT / "build/release/fovea")))
    arguments = parser.parse_args()
    try:
        seed = arguments.seed if arguments.seed is not None else int(time.time())
        return 0 if check(arguments.fovea, arguments.count, seed, arguments.steps) else 1
    except CannotRun as error:
        print(f"parity: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.exit(main())
