"""Train fovea-vit from nothing, then its thresholds. Run from the recipes' folder:

    python -m fovea_vit.train weights                  # names emoji
    python -m fovea_vit.train thresholds               # learns what to drop, at 0.65 of the FLOPs

A run that is stopped goes on where it was, from <out>/<stage>.pt, when it is started again; --stop-after ends it in
time for the end of a lease.
"""

import argparse
import json
import math
import os
import time
from copy import deepcopy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import atlas
from fovea_vit import MADE
from fovea_vit.data import Batches, accuracy
from fovea_vit.model import FoveaVit, Output, Size
from fovea_vit.render import Renderer
from fovea_vit.scenes import SceneMaker, labels

RATES = {"weights": (1e-3, 1e-5), "thresholds": (2e-5, 2e-6)}  # first and last of the cosine
WARM_UP = {"weights": 1000, "thresholds": 0}
PATCH_LOSS = 0.5  # of the auxiliary question whether a patch shows the emoji, and which
BUDGET_LOSS = 9.2  # per share of the FLOPs: twice DeiT-S's 4.6 GFLOPs, so that the published weight 2 keeps its force
DISTILL_LOSS = 0.5


def rate_at(stage: str, share: float, step: int) -> float:
    first, last = RATES[stage]
    warm_up = min(1.0, (step + 1) / (WARM_UP[stage] + 1))
    return warm_up * (last + (first - last) * 0.5 * (1 + math.cos(math.pi * share)))


def optimiser_of(stage: str, modules: list[nn.Module]) -> torch.optim.Optimizer:
    """Matrices decay; thresholds, norms and biases do not."""
    parameters = [p for module in modules for p in module.parameters()]
    decay = {"weights": 0.05, "thresholds": 1e-6}[stage]
    groups = [{"params": [p for p in parameters if p.ndim >= 2], "weight_decay": decay},
              {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=RATES[stage][0], betas=(0.9, 0.98))


class WeightsStage:
    """Cross-entropy, and in the beginning every patch is asked too: pictures teach more when each patch answers."""

    name, masked = "weights", False

    def __init__(self, model: FoveaVit, classes: int, device: str):
        self.model = self.run = model
        self.patch_head = nn.Linear(model.size.width, classes + 1).to(device)
        self.trained = [model, self.patch_head]

    def compile(self, wanted: bool) -> None:
        if wanted:
            self.run = torch.compile(self.model)

    def loss(self, pixels: Tensor, target: Tensor, emoji: Tensor, share: float) -> dict[str, Tensor]:
        output = self.run(pixels)
        patch_target = torch.where(emoji, target[:, None] + 1, 0)
        patch = F.cross_entropy(self.patch_head(output.tokens).flatten(0, 1).float(), patch_target.flatten())
        return {"label": F.cross_entropy(output.logits.float(), target, label_smoothing=0.05),
                "patch": PATCH_LOSS * (1 - share) * patch}


class ThresholdsStage:
    """Masks with a straight-through estimate, a budget, and distillation from the unpruned model (section 5)."""

    name, masked = "thresholds", True

    def __init__(self, model: FoveaVit, budget: float):
        self.model = self.run = model
        self.budget = budget
        self.teacher = deepcopy(model).eval().requires_grad_(False)
        self.teach = self.teacher
        self.trained = [model]

    def compile(self, wanted: bool) -> None:
        if wanted:
            self.run, self.teach = torch.compile(self.model), torch.compile(self.teacher)

    def loss(self, pixels: Tensor, target: Tensor, emoji: Tensor, share: float) -> dict[str, Tensor]:
        output = self.run(pixels, masked=True)
        with torch.no_grad():
            teacher: Output = self.teach(pixels)
        spent = output.flops.mean() / self.model.size.flops()
        kept = output.kept[-1].detach()
        token = divergence(output.tokens, teacher.tokens)
        return {"label": F.cross_entropy(output.logits.float(), target),
                "budget": BUDGET_LOSS * (spent - self.budget).abs(),
                "logits": DISTILL_LOSS * divergence(output.logits, teacher.logits).mean(),
                "tokens": DISTILL_LOSS * (token * kept).sum() / kept.sum().clamp(min=1)}


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) over the last axis."""
    student, teacher = student.float().log_softmax(-1), teacher.float().log_softmax(-1)
    return (teacher.exp() * (teacher - student)).sum(-1)


def save(path: Path, **state) -> None:
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def make_stage(options: argparse.Namespace, model: FoveaVit, classes: int, device: str):
    if options.stage == "weights":
        return WeightsStage(model, classes, device)
    start = torch.load(options.out / "weights.pt", map_location=device, weights_only=True)
    if not start["done"]:
        raise SystemExit("the weights are not trained yet: run the first stage to its end")
    model.load_state_dict(start["model"])
    return ThresholdsStage(model, options.budget)


def run(options: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(options.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    options.out.mkdir(parents=True, exist_ok=True)
    tiles = atlas.load(options.atlas)
    batches = Batches(SceneMaker(tiles.first), Renderer(tiles.tiles, device), options.batch, options.seed,
                      options.workers)
    classes = len(labels())
    model = FoveaVit(Size(), classes).to(device)
    stage = make_stage(options, model, classes, device)
    optimiser = optimiser_of(stage.name, stage.trained)
    path, step = options.out / f"{stage.name}.pt", 0
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        step = state["step"]
        for module, weights in zip(stage.trained, state["trained"]):
            module.load_state_dict(weights)
        optimiser.load_state_dict(state["optimiser"])
        if state["seed"] != options.seed or state["steps"] != options.steps:
            raise SystemExit(f"{path} was begun with --seed {state['seed']} --steps {state['steps']}")

    began = saved = time.time()

    def keep(done: bool) -> None:
        save(path, model=model.state_dict(), trained=[module.state_dict() for module in stage.trained],
             optimiser=optimiser.state_dict(), step=step, steps=options.steps, seed=options.seed, done=done)

    stage.compile(options.compile)
    for pixels, target, emoji in batches.sequence(stage.name, step, options.steps):
        share = step / options.steps
        for group in optimiser.param_groups:
            group["lr"] = rate_at(stage.name, share, step)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            losses = stage.loss(pixels, target, emoji, share)
        optimiser.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_([p for module in stage.trained for p in module.parameters()], 1.0)
        optimiser.step()
        step += 1
        if step % options.report == 0 or step == options.steps:
            values = {name: round(value.item(), 4) for name, value in losses.items()}
            print(f"{time.time() - began:.0f} s, step {step} of {options.steps}: {values}", flush=True)
        if time.time() - saved > options.save_seconds:
            keep(False)
            saved = time.time()
        if time.time() - began > 60 * options.stop_after and step < options.steps:
            keep(False)
            print(f"stopped after {step} steps; start again to go on", flush=True)
            return
    keep(True)
    found = accuracy(model, batches, options.check, stage.masked)
    (options.out / f"{stage.name}.json").write_text(json.dumps({"steps": step, "batch": options.batch, **found}) + "\n")
    print(json.dumps(found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["weights", "thresholds"])
    parser.add_argument("--atlas", type=Path, default=MADE / "atlas.npz", help="written by ../atlas.py")
    parser.add_argument("--out", type=Path, default=MADE)
    parser.add_argument("--steps", type=int, default=None, help="default: 30000 for weights, 6000 for thresholds")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", type=float, default=0.65, help="of thresholds: share of the FLOPs")
    parser.add_argument("--report", type=int, default=200)
    parser.add_argument("--check", type=int, default=16, help="batches that the accuracy is taken over")
    parser.add_argument("--workers", type=int, default=max(1, min(8, (os.cpu_count() or 2) - 1)))
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--save-seconds", type=float, default=60)
    parser.add_argument("--stop-after", type=float, default=math.inf, metavar="MINUTES")
    options = parser.parse_args()
    options.steps = options.steps or {"weights": 30000, "thresholds": 6000}[options.stage]
    run(options)


if __name__ == "__main__":
    main()
