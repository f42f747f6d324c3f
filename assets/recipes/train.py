"""Train base and guide together, from nothing, on pictures drawn on the fly.

    python train.py --atlas atlas.npz --tokenizer tokenizer.model --out checkpoints

First at half resolution (144 visual tokens), where most of the learning is cheap, then at 336 px (576 tokens). The
schedule is by wall-clock time, so that the same recipe fills whatever lease of a GPU there is. Interrupted, it goes
on from <out>/state.pt when started again; on another machine, from the exported weights (--start-weights).
"""

import argparse
import json
import math
import multiprocessing
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F

from atlas import load
from batches import Batch, BatchMaker
from model import IMAGE_SIZE, SIZES, Llava
from render import Renderer
from tokenizer import Tokenizer
from weights import load_weights, save_weights

LEARNING_RATES = {"base": 1.2e-3, "guide": 2.0e-3}
WARM_UP_STEPS = 400
PATCH_LOSS = 0.6
CHECK_SEED = 77


@dataclass(frozen=True)
class Stage:
    side: int
    batch: int
    minutes: float


@dataclass
class Learner:
    """One model with its optimiser; `run` is the compiled model."""

    name: str
    model: Llava
    run: object
    optimiser: torch.optim.Optimizer

    def step(self, pixels, patch_kind, text, progress: float, warm_up: float) -> dict[str, torch.Tensor]:
        rate = LEARNING_RATES[self.name] * warm_up * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with autocast(pixels.device.type):
            logits, patches = self.run(pixels, text["ids"], text["offsets"], text["conversation"], text["places"])
        answer = F.cross_entropy(logits.flatten(0, 1).float(), text["targets"].flatten(), reduction="none")
        answer = (answer * text["weights"].flatten()).sum() / text["weights"].sum()
        patch = F.cross_entropy(patches.flatten(0, 1).float(), patch_kind.flatten())
        self.optimiser.zero_grad(set_to_none=True)
        (answer + PATCH_LOSS * (1 - progress) * patch).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        return {"answer": answer.detach(), "patch": patch.detach()}


def autocast(device: str) -> torch.autocast:
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")


def build_learner(name: str, tokenizer: Tokenizer, kinds: int, device: str, compiled: bool) -> Learner:
    model = Llava(SIZES[name], tokenizer.vocab, tokenizer.prefix, kinds + 1).to(device)
    return Learner(name, model, torch.compile(model, dynamic=False) if compiled else model, optimiser_of(model))


def optimiser_of(model: torch.nn.Module) -> torch.optim.Optimizer:
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), fused=decayed[0].is_cuda)


def to_device(batch: Batch, device: str) -> dict[str, torch.Tensor]:
    names = ("ids", "offsets", "conversation", "places", "targets", "weights")
    return {name: torch.from_numpy(getattr(batch, name)).to(device, non_blocking=True) for name in names}


def feed(queue, maker: BatchMaker, size: int, seed: int) -> None:
    torch.set_num_threads(1)
    rng = Random(seed)
    while True:
        batch = maker.make(size, rng)
        batch.asked = []
        queue.put(batch)


class Feeder:
    """Processes that write batches ahead of the GPU."""

    def __init__(self, maker: BatchMaker, size: int, seed: int, workers: int):
        context = multiprocessing.get_context("fork")
        self.queue = context.Queue(3 * workers)
        self.processes = [
            context.Process(target=feed, args=(self.queue, maker, size, seed + i), daemon=True) for i in range(workers)
        ]
        for process in self.processes:
            process.start()

    def close(self) -> None:
        for process in self.processes:
            process.terminate()


@torch.inference_mode()
def check(learners: list[Learner], maker: BatchMaker, renderer: Renderer, side: int, batches: int, size: int) -> dict:
    """Share of questions answered right when every answer token is predicted from the right ones before it."""
    rng = Random(CHECK_SEED)
    right, asked = {learner.name: Counter() for learner in learners}, Counter()
    for _ in range(batches):
        batch = maker.make(size, rng)
        text = to_device(batch, renderer.device)
        pixels = renderer.normalise(renderer.roughen(renderer.draw(batch.rows, side)[0]))
        for learner in learners:
            with autocast(renderer.device):
                logits, _ = learner.model(
                    pixels, text["ids"], text["offsets"], text["conversation"], text["places"])
            wrong = (logits.argmax(-1) != text["targets"]).cpu().numpy()
            for i, questions in enumerate(batch.asked):
                missed = set(batch.question[i][wrong[i]])
                for number, (question, opens) in enumerate(questions):
                    keys = [question.category] + (["first turn"] if opens and question.category != "describe" else [])
                    right[learner.name].update(key for key in keys if number not in missed)
                    if learner is learners[0]:
                        asked.update(keys)
    return {name: {key: round(counts[key] / asked[key], 4) for key in sorted(asked)} for name, counts in right.items()}


def save_state(learners: list, spent: list[float], steps: list[int], folder: Path) -> None:
    state = {learner.name: (learner.model.state_dict(), learner.optimiser.state_dict()) for learner in learners}
    torch.save({"learners": state, "spent": spent, "steps": steps}, folder / "state.tmp")
    os.replace(folder / "state.tmp", folder / "state.pt")


def run(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    stages = [Stage(IMAGE_SIZE // 2, options.low_batch, options.low_minutes),
              Stage(IMAGE_SIZE, options.high_batch, options.high_minutes)]
    atlas, tokenizer = load(options.atlas), Tokenizer(options.tokenizer)
    maker, renderer = BatchMaker(tokenizer, atlas), Renderer(atlas, device, options.seed)
    learners = [build_learner(name, tokenizer, len(atlas.first) - 1, device, options.compile)
                for name in options.models.split(",")]
    spent, steps = [0.0, 0.0], [0, 0]
    options.out.mkdir(parents=True, exist_ok=True)
    if (options.out / "state.pt").exists():
        state = torch.load(options.out / "state.pt", map_location=device)
        spent, steps = state["spent"], state["steps"]
        for learner in learners:
            weights, optimiser = state["learners"][learner.name]
            learner.model.load_state_dict(weights)
            learner.optimiser.load_state_dict(optimiser)
    elif options.start_weights:
        for learner in learners:
            learner.model.load_state_dict(load_weights(learner.name, options.start_weights))

    total = 60 * sum(stage.minutes for stage in stages)
    began = time.time()
    for number, stage in enumerate(stages):
        if spent[number] >= 60 * stage.minutes:
            continue
        seed = options.seed * 1_000_003 + number * 100_003 + sum(steps) * 101
        feeder = Feeder(maker, stage.batch, seed, options.workers)
        last = saved = time.time()
        since_start = 0
        while spent[number] < 60 * stage.minutes:
            batch = feeder.queue.get()
            text = to_device(batch, device)
            with torch.no_grad():
                image, patch_kind = renderer.draw(batch.rows, stage.side)
                pixels = renderer.normalise(renderer.roughen(image))
            progress = options.from_progress + (1 - options.from_progress) * min(1.0, sum(spent) / total)
            warm_up = min(1.0, (since_start + 1) / (WARM_UP_STEPS if number == 0 else WARM_UP_STEPS // 4))
            losses = {learner.name: learner.step(pixels, patch_kind, text, progress, warm_up) for learner in learners}
            steps[number] += 1
            since_start += 1
            report = since_start in (1, 20) or steps[number] % 200 == 0
            if report:
                values = {name: {k: round(v.item(), 4) for k, v in loss.items()} for name, loss in losses.items()}
                print(f"{time.time() - began:.0f}s {stage.side}px step {steps[number]} spent {spent[number]:.0f}s "
                      f"{values} queue {feeder.queue.qsize()}", flush=True)
            elif steps[number] % 10 == 0 and device == "cuda":
                torch.cuda.synchronize()
            now = time.time()
            spent[number] += now - last
            last = now
            if now - saved > options.save_seconds:
                save_state(learners, spent, steps, options.out)
                for learner in learners:
                    save_weights(learner.model, learner.name, options.out)
                saved = time.time()
        feeder.close()
        result = check(learners, maker, renderer, stage.side, options.check_batches, stage.batch)
        print(f"after {stage.side}px: {steps[number]} steps, {steps[number] * stage.batch} pictures\n"
              + "\n".join(f"  {name} {json.dumps(values)}" for name, values in result.items()), flush=True)
        save_state(learners, spent, steps, options.out)
        for learner in learners:
            save_weights(learner.model, learner.name, options.out)
    (options.out / "done").write_text(json.dumps({"steps": steps, "seconds": [round(s) for s in spent]}) + "\n")
    print("done", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atlas", type=Path, default=Path("atlas.npz"))
    parser.add_argument("--tokenizer", type=Path, default=Path("tokenizer.model"))
    parser.add_argument("--out", type=Path, default=Path("checkpoints"))
    parser.add_argument("--models", default="base,guide")
    parser.add_argument("--low-minutes", type=float, default=11.5, help="time at 168 px")
    parser.add_argument("--high-minutes", type=float, default=13.5, help="time at 336 px")
    parser.add_argument("--low-batch", type=int, default=320)
    parser.add_argument("--high-batch", type=int, default=128)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start-weights", type=Path, help="folder of exported weights to go on from")
    parser.add_argument("--from-progress", type=float, default=0.0, help="where on the learning-rate curve to start")
    parser.add_argument("--save-seconds", type=float, default=60)
    parser.add_argument("--check-batches", type=int, default=8)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
