"""Scenes: one emoji that is to be named, among shapes and signs that are not."""

from dataclasses import dataclass
from random import Random

import numpy as np

from vocabulary import Kind, load_kinds

SIDE = 224
MOST_CLUTTER = 10
FIELDS = 7  # x, y, half size, tile, tilt, mirror, brightness
ROWS = MOST_CLUTTER + 1


@dataclass(frozen=True)
class Scene:
    """`rows` [ROWS, FIELDS], in drawing order, unused ones of half size -1; the emoji comes last, so that nothing
    covers it."""

    label: int
    clutter: int
    rows: np.ndarray


def labels() -> list[str]:
    """Names of the emoji in the order of their classes."""
    return [kind.name for kind in load_kinds() if kind.code_point]


def is_clutter(kind: Kind) -> bool:
    return not kind.code_point


def rng_of(split: str, *numbers: int) -> Random:
    """Independent of every other split and number: held-out pictures are never drawn in training."""
    return Random(" ".join(["fovea-vit", split, *map(str, numbers)]))


class SceneMaker:
    def __init__(self, first_tile: np.ndarray):
        """first_tile: tiles of kind k are first_tile[k] .. first_tile[k + 1] - 1, as in the atlas."""
        kinds = load_kinds()
        self.first_tile = first_tile
        self.emoji = [index for index, kind in enumerate(kinds) if kind.code_point]
        self.clutter = [index for index, kind in enumerate(kinds) if is_clutter(kind)]

    def make(self, rng: Random, label: int | None = None, clutter: int | None = None) -> Scene:
        label = rng.randrange(len(self.emoji)) if label is None else label
        clutter = rng.randint(0, MOST_CLUTTER) if clutter is None else clutter
        rows = np.zeros((ROWS, FIELDS), np.float32)
        rows[:, 2] = -1
        for row in rows[:clutter]:
            row[:] = self._thing(rng, rng.choice(self.clutter), rng.uniform(10, 30))
        rows[-1] = self._thing(rng, self.emoji[label], rng.uniform(18, 52))
        return Scene(label, clutter, rows)

    def _thing(self, rng: Random, kind: int, half: float) -> tuple[float, ...]:
        tile = rng.randrange(int(self.first_tile[kind]), int(self.first_tile[kind + 1]))
        upright = kind >= self.clutter[0]  # mirrored letters would be no letters
        return (rng.uniform(half, SIDE - half), rng.uniform(half, SIDE - half), half, tile, rng.uniform(-0.4, 0.4),
                1 if upright or rng.random() < 0.5 else -1, rng.uniform(0.8, 1.15))
