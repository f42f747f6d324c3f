"""Train base and guide together on pictures, clips and plain text, or a blind control on the text alone.

    python -m emoji_world.train
    torchrun --nproc-per-node 2 -m emoji_world.train --models base      # one model on two GPUs
    python -m emoji_world.train --blind --out ../../build/emoji_world/blind

First at half resolution (144 visual tokens a picture), where most of the learning is cheap, then at 336 px. The
schedule counts training time, not steps, so that the same recipe fills whatever lease of a GPU there is. Started
again, it goes on where it stopped: from <out>/state.pt, or on another machine from the half-precision weights and
progress.json, which are small enough to be carried.
"""

import argparse
import json
import math
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from emoji_world import MADE
from emoji_world.atlas import load
from emoji_world.batches import SLOTS, Batch, BatchMaker
from emoji_world.model import UNUSED, Llava
from emoji_world.render import Renderer
from emoji_world.splits import rng_of
from emoji_world.team import Team
from emoji_world.tokenizer import Tokenizer
from model import IMAGE_SIZE, SIZES
from train import LEARNING_RATES, PATCH_LOSS, Feeder, autocast, optimiser_of, save_state
from weights import load_weights, save_weights

SHORT_WARM_UP_STEPS = 100  # of later stages and calls
CLIP_EVERY = 7  # one step in so many is about clips
REPORT_EVERY = 200
SYNCHRONISE_EVERY = 10  # lets the host measure time without running ahead of the device
INPUTS = ("slot_start", "slot_scene", "ids", "positions", "scene", "conversation", "places")


@dataclass(frozen=True)
class Stage:
    """`rows` of a batch by its kind."""

    side: int
    rows: dict[str, int]
    minutes: float


@dataclass
class Progress:
    """Seconds and steps of every stage."""

    spent: list[float]
    steps: list[int]

    def share(self, stages: list[Stage]) -> float:
        return min(1.0, sum(self.spent) / (60 * sum(stage.minutes for stage in stages)))


@dataclass(frozen=True)
class Limit:
    """When this call ends, whatever the stages want."""

    deadline: float
    steps: float  # of all stages together

    def reached(self, progress: Progress) -> bool:
        return time.time() >= self.deadline or sum(progress.steps) >= self.steps


@dataclass
class Learner:
    """One model with its optimiser. Only batches of pictures use the compiled model: clips come too seldom to pay for
    compiling their shapes."""

    name: str
    model: Llava
    compiled: object
    optimiser: torch.optim.Optimizer
    team: Team
    rate: float
    sparse: bool

    def step(self, kind: str, inputs: dict[str, torch.Tensor], progress: float, warm_up: float) -> dict:
        # A larger batch bears a somewhat higher rate; the fourth root is a guess, not yet tried on GPUs.
        rate = self.rate * self.team.size ** 0.25 * warm_up * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if kind != "clips":
            logits, patches = logits_of(self.compiled, inputs, self.sparse)
        else:
            logits, patches = logits_of(self.model, inputs)
        answer = F.cross_entropy(logits.flatten(0, 1).float(), inputs["targets"].flatten(), reduction="none")
        loss = answer = (answer * inputs["weights"].flatten()).sum() / inputs["weights"].sum().clamp(min=1)
        losses = {"answer": answer.detach()}
        if patches is not None:
            patch = F.cross_entropy(patches.flatten(0, 1).float(), inputs["patch_kind"].flatten(), ignore_index=-100)
            loss = answer + PATCH_LOSS * (1 - progress) * patch
            losses["patch"] = patch.detach()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.team.average_gradients(self.model)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        return losses


def logits_of(model, inputs: dict[str, torch.Tensor],
              sparse: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
    with autocast(inputs["ids"].device.type):
        return model(inputs.get("pixels"), *(inputs[name] for name in INPUTS), sparse)


def build_learner(name: str, tokenizer: Tokenizer, kinds: int, device: str, options: argparse.Namespace,
                  team: Team) -> Learner:
    model = Llava(SIZES[name], tokenizer.vocab, tokenizer.prefix, tokenizer.between, kinds + 1).to(device)
    model.compute = torch.bfloat16 if device == "cuda" else torch.float32
    run = torch.compile(model, dynamic=False) if options.compile else model
    rate = options.rate * LEARNING_RATES[name]
    return Learner(name, model, run, optimiser_of(model), team, rate, options.attention == "sparse")


@torch.no_grad()
def prepare(batch: Batch, renderer: Renderer, side: int) -> dict[str, torch.Tensor]:
    """What a step reads, on the renderer's device, with the pictures drawn at `side` pixels."""
    names = (*INPUTS, "targets", "weights")
    inputs = {n: torch.from_numpy(getattr(batch, n)).to(renderer.device, non_blocking=True) for n in names}
    count, slots = batch.slot_scene.shape
    if slots:
        shared = (batch.background + slots * np.arange(count)[:, None]).reshape(-1)  # by the frames of a clip
        backgrounds = renderer.backgrounds(count * slots, side)[torch.from_numpy(shared).to(renderer.device)]
        image, patch_kind = renderer.draw(batch.rows.reshape(count * slots, *batch.rows.shape[2:]), backgrounds, side)
        sizes = torch.from_numpy(batch.sizes.reshape(-1, 2)).to(renderer.device)
        inputs["pixels"] = renderer.normalise(renderer.pad(renderer.roughen(image), sizes))
        shown = inputs["slot_scene"].reshape(-1, 1) != UNUSED
        inputs["patch_kind"] = torch.where(shown, patch_kind, -100)
    return inputs


@torch.inference_mode()
def check(learners: list[Learner], makers: dict[str, BatchMaker], renderer: Renderer, stage: Stage,
          batches: int) -> dict[str, dict[str, float]]:
    """Share of questions of the development split whose every answer token is predicted, by category."""
    right = {learner.name: Counter() for learner in learners}
    asked = Counter()
    for kind in stage.rows:
        rng = rng_of("development", f"check {kind}")
        for _ in range(batches):
            batch = makers[kind].make(stage.rows[kind], rng)
            inputs = prepare(batch, renderer, stage.side)
            for learner in learners:
                logits, _ = logits_of(learner.model, inputs)
                wrong = (logits.argmax(-1) != inputs["targets"]).cpu().numpy()
                for row, questions in enumerate(batch.asked):
                    missed = set(batch.question[row][wrong[row]])
                    for number, (question, _) in enumerate(questions):
                        right[learner.name][question.category] += number not in missed
                        asked[question.category] += learner is learners[0]
    return {name: {key: round(counts[key] / asked[key], 4) for key in sorted(asked)} for name, counts in right.items()}


def save(learners: list[Learner], progress: Progress, folder: Path) -> None:
    save_state(learners, progress.spent, progress.steps, folder)
    for learner in learners:
        save_weights(learner.model, learner.name, folder)
    (folder / "progress.json").write_text(json.dumps(vars(progress)) + "\n")


def resume(learners: list[Learner], folder: Path, device: str) -> Progress | None:
    """Puts the newest saved state into the learners."""
    if (folder / "state.pt").exists():
        state = torch.load(folder / "state.pt", map_location=device)
        for learner in learners:
            weights, optimiser = state["learners"][learner.name]
            learner.model.load_state_dict(weights)
            learner.optimiser.load_state_dict(optimiser)
        return Progress(state["spent"], state["steps"])
    if (folder / "progress.json").exists():
        for learner in learners:
            learner.model.load_state_dict(load_weights(learner.name, folder))
        return Progress(**json.loads((folder / "progress.json").read_text()))
    return None


def stages_of(options: argparse.Namespace) -> list[Stage]:
    if options.blind:
        return [Stage(0, {"alone": options.blind_batch}, options.blind_minutes)]
    return [
        Stage(IMAGE_SIZE // 2, {"pictures": options.low_batch, "clips": options.low_clips}, options.low_minutes),
        Stage(IMAGE_SIZE, {"pictures": options.high_batch, "clips": options.high_clips}, options.high_minutes),
    ]


def run_stage(number: int, stages: list[Stage], learners: list[Learner], makers: dict[str, BatchMaker],
              renderer: Renderer, progress: Progress, limit: Limit, team: Team, options: argparse.Namespace) -> bool:
    """True when the stage's time is over, False when the time of this call is."""
    stage = stages[number]
    sparse = {kind: max(1, options.workers // 8) for kind in stage.rows if kind == "clips"}
    feeders = {}
    for kind, rows in stage.rows.items():
        seed = f"{options.seed} {kind} {number} {sum(progress.steps)}" + (f" {team.rank}" if team.rank else "")
        workers = sparse.get(kind) or max(1, options.workers - sum(sparse.values()))
        feeders[kind] = Feeder(makers[kind], rows, rng_of("train", seed).getrandbits(60), workers)
    last = saved = time.time()
    first_step = progress.steps[number]
    while team.agree(progress.spent[number] < 60 * stage.minutes and not limit.reached(progress)):
        step = progress.steps[number]
        kind = "clips" if "clips" in stage.rows and step % CLIP_EVERY == CLIP_EVERY - 1 else next(iter(stage.rows))
        inputs = prepare(feeders[kind].queue.get(), renderer, stage.side)
        since_start = step - first_step
        warm_up = min(1.0, (since_start + 1) / (SHORT_WARM_UP_STEPS if number or first_step else options.warm_up))
        share = team.agree(progress.share(stages))
        losses = {learner.name: learner.step(kind, inputs, share, warm_up) for learner in learners}
        progress.steps[number] += 1
        if since_start in (0, CLIP_EVERY - 1, 20) or progress.steps[number] % REPORT_EVERY == 0:
            values = {name: {k: round(v.item(), 4) for k, v in loss.items()} for name, loss in losses.items()}
            team.print(f"{kind} at {stage.side}px, step {step + 1}, spent {progress.spent[number]:.0f}s {values} "
                       f"ready {feeders[kind].queue.qsize()} batches{memory(renderer.device)}")
        elif step % SYNCHRONISE_EVERY == 0 and renderer.device == "cuda":
            torch.cuda.synchronize()
        now = time.time()
        progress.spent[number] += now - last if since_start else 0.0  # the first step waits for the compiler
        last = now
        if now - saved > options.save_seconds:
            if team.leads:
                save(learners, progress, options.out)
            saved = last = time.time()
    for feeder in feeders.values():
        feeder.close()
    return team.agree(progress.spent[number] >= 60 * stage.minutes)


def memory(device: str) -> str:
    return f", at most {torch.cuda.max_memory_allocated() / 2**30:.0f} GiB" if device == "cuda" else ""


def run(options: argparse.Namespace) -> None:
    deadline = time.time() + 60 * options.stop_after
    torch.manual_seed(options.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    team = Team(device)
    stages = stages_of(options)
    atlas, tokenizer = load(options.atlas), Tokenizer(options.tokenizer)
    makers = {kind: BatchMaker(tokenizer, atlas, kind) for kind in SLOTS}
    renderer = Renderer(atlas, device, options.seed + 1000 * team.rank)
    names = ["base"] if options.blind else options.models.split(",")
    learners = [build_learner(name, tokenizer, len(atlas.first) - 1, device, options, team) for name in names]
    options.out.mkdir(parents=True, exist_ok=True)
    progress = resume(learners, options.out, device) or Progress([0.0] * len(stages), [0] * len(stages))
    limit = Limit(deadline, sum(progress.steps) + options.most_steps)
    for number, stage in enumerate(stages):
        if progress.spent[number] >= 60 * stage.minutes:
            continue
        if not run_stage(number, stages, learners, makers, renderer, progress, limit, team, options):
            if team.leads:
                save(learners, progress, options.out)
            team.print(f"stopped after {progress.share(stages):.0%}; start it again to go on")
            return
        if team.leads:
            save(learners, progress, options.out)
            print(f"end of the stage at {stage.side}px: {progress.steps[number]} steps")
            for name, values in check(learners, makers, renderer, stage, options.check_batches).items():
                print(f"  {name} {json.dumps(values)}", flush=True)
    team.print("done")


def options_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atlas", type=Path, default=MADE / "atlas.npz")
    parser.add_argument("--tokenizer", type=Path, default=MADE / "tokenizer.model")
    parser.add_argument("--out", type=Path, default=MADE / "checkpoints")
    parser.add_argument("--models", default="base,guide")
    parser.add_argument("--low-minutes", type=float, default=9, help="time at 168 px")
    parser.add_argument("--high-minutes", type=float, default=12, help="time at 336 px")
    parser.add_argument("--stop-after", type=float, default=math.inf, help="minutes of this call; then it saves")
    parser.add_argument("--most-steps", type=float, default=math.inf, help="of this call")
    parser.add_argument("--low-batch", type=int, default=320, help="pictures of a step at 168 px")
    parser.add_argument("--low-clips", type=int, default=48, help="rows of eight frames")
    parser.add_argument("--high-batch", type=int, default=128, help="pictures of a step at 336 px")
    parser.add_argument("--high-clips", type=int, default=12, help="rows of eight frames")
    parser.add_argument("--blind", action="store_true", help="a decoder of base's size that never sees a picture")
    parser.add_argument("--blind-minutes", type=float, default=3)
    parser.add_argument("--blind-batch", type=int, default=384)
    parser.add_argument("--workers", type=int, default=max(2, (os.cpu_count() or 2) - 2))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save-seconds", type=float, default=60)
    parser.add_argument("--check-batches", type=int, default=8)
    parser.add_argument("--warm-up", type=int, default=400, help="steps until the learning rate is reached")
    parser.add_argument("--rate", type=float, default=1.0, help="of the usual learning rate; less for a trained model")
    parser.add_argument("--attention", choices=["dense", "sparse"], default="dense",
                        help="sparse leaves out empty blocks of the mask; needs a compiled model")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    return parser.parse_args()


if __name__ == "__main__":
    run(options_of())
