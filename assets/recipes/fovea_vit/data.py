"""Training batches, drawn on the fly."""

import multiprocessing
from collections import deque

import numpy as np
import torch
from torch import Tensor

from fovea_vit.render import Renderer
from fovea_vit.scenes import SceneMaker, rng_of

maker: SceneMaker | None = None  # of the processes that draw up scenes


def start(shared: SceneMaker) -> None:
    global maker
    maker = shared


def describe(split: str, seed: int, number: int, size: int) -> tuple[np.ndarray, list[int], int]:
    """Rows and labels of one batch, and the random number that its backgrounds start from."""
    rng = rng_of(split, seed, number)
    scenes = [maker.make(rng) for _ in range(size)]
    return np.stack([scene.rows for scene in scenes]), [scene.label for scene in scenes], rng.getrandbits(60)


class Batches:
    """Batch number n of a seed is always the same, so that an interrupted run goes on with what it would have seen.
    Scenes are drawn up ahead, by processes of their own."""

    def __init__(self, scene_maker: SceneMaker, renderer: Renderer, size: int, seed: int, workers: int):
        self.renderer, self.size, self.seed, self.ahead = renderer, size, seed, 4 * workers
        self.generator = torch.Generator(renderer.device)
        self.pool = multiprocessing.get_context("fork").Pool(workers, start, (scene_maker,))

    def sequence(self, split: str, first: int, end: int):
        """Batches first .. end - 1: normalised pixels, labels, and which patches show the emoji."""
        pending: deque = deque()
        for number in range(first, end + self.ahead):
            if number < end:
                pending.append(self.pool.apply_async(describe, (split, self.seed, number, self.size)))
            if number >= first + self.ahead and pending:
                yield self._draw(*pending.popleft().get())
        while pending:
            yield self._draw(*pending.popleft().get())

    @torch.no_grad()
    def _draw(self, rows: np.ndarray, labels: list[int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
        self.generator.manual_seed(seed)
        image, emoji = self.renderer.draw(rows, self.generator)
        return self.renderer.normalise(image), torch.tensor(labels, device=self.renderer.device), emoji


def accuracy(model: torch.nn.Module, batches: Batches, count: int, masked: bool) -> dict[str, float]:
    """Over `count` batches of a split of their own."""
    right, flops, pictures, kept = 0, 0.0, 0, None
    model.eval()
    with torch.inference_mode():
        for pixels, labels, _ in batches.sequence("check", 0, count):
            output = model(pixels, masked)
            right += (output.logits.argmax(-1) == labels).sum().item()
            pictures += len(labels)
            if masked:
                flops += output.flops.sum().item()
                survivors = torch.stack([mask.sum(1).sum() for mask in output.kept])
                kept = survivors if kept is None else kept + survivors
    model.train()
    found = {"accuracy": round(right / pictures, 4)}
    if masked:
        found["flops"] = round(flops / pictures / model.size.flops(), 4)
        found |= {f"kept_{cut}": round(value.item() / pictures, 1) for cut, value in zip(model.size.cuts, kept)}
    return found
