"""Training batches, drawn on the fly."""

import numpy as np
import torch
from torch import Tensor

from fovea_vit.render import Renderer
from fovea_vit.scenes import SceneMaker, rng_of


class Batches:
    """Batch number n of a seed is always the same, so that an interrupted run goes on with what it would have seen."""

    def __init__(self, maker: SceneMaker, renderer: Renderer, size: int, seed: int):
        self.maker, self.renderer, self.size, self.seed = maker, renderer, size, seed
        self.generator = torch.Generator(renderer.device)

    @torch.no_grad()
    def get(self, split: str, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised pixels, labels, and which patches show the emoji."""
        rng = rng_of(split, self.seed, number)
        scenes = [self.maker.make(rng) for _ in range(self.size)]
        self.generator.manual_seed(rng.getrandbits(60))
        image, emoji = self.renderer.draw(np.stack([scene.rows for scene in scenes]), self.generator)
        labels = torch.tensor([scene.label for scene in scenes], device=self.renderer.device)
        return self.renderer.normalise(image), labels, emoji


def accuracy(model: torch.nn.Module, batches: Batches, count: int, masked: bool) -> dict[str, float]:
    """Over `count` batches of a split of their own."""
    right, flops, pictures, kept = 0, 0.0, 0, None
    model.eval()
    with torch.inference_mode():
        for number in range(count):
            pixels, labels, _ = batches.get("check", number)
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
