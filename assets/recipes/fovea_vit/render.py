"""Pictures from scenes, in batches and on any device."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fovea_vit.scenes import SIDE

PATCH = 16
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REACH = 1.4  # of a tilted tile from its centre, in half sizes, with a soft border
SOFT = 4  # tiles are shown at about a quarter of their size: smaller ones without aliasing


class Renderer:
    """Owns the tiles on one device. Pictures are RGB floats from 0 to 1, [batch, 3, SIDE, SIDE]."""

    def __init__(self, tiles: np.ndarray, device: str):
        rgba = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255
        premultiplied = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)
        self.levels = [F.avg_pool2d(premultiplied, factor).to(device) for factor in (1, 2, SOFT)]
        self.device = device
        self.mean = torch.tensor(MEAN, device=device).view(3, 1, 1)
        self.std = torch.tensor(STD, device=device).view(3, 1, 1)

    def draw(self, rows: np.ndarray, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pictures of `rows` [n, ROWS, FIELDS], and for the centre of every patch whether the emoji shows there."""
        table = torch.from_numpy(rows).to(self.device)
        image = self.backgrounds(len(rows), generator)
        emoji = torch.zeros(len(rows), (SIDE // PATCH) ** 2, dtype=torch.bool, device=self.device)
        for index in range(rows.shape[1]):
            chosen = np.flatnonzero(rows[:, index, 2] > 0)
            for level, pixels in enumerate(self.levels):
                fits = rows[chosen, index, 2] * 2
                wanted = np.where(fits > 64, 0, np.where(fits > 32, 1, 2)) == level
                picked = torch.from_numpy(chosen[wanted]).to(self.device)
                if len(picked):
                    window = min(SIDE, math.ceil(2 * REACH * rows[chosen[wanted], index, 2].max()) + 2)
                    part, places = self._things(table[picked, index], pixels, window)
                    behind = image[picked].flatten(2)
                    where = places.expand(-1, 3, -1)
                    shown = behind.gather(2, where) * (1 - part[:, 3:]) + part[:, :3]
                    image[picked] = behind.scatter(2, where, shown).view(-1, 3, SIDE, SIDE)
                    if index == rows.shape[1] - 1:
                        opaque = image.new_zeros(len(picked), SIDE * SIDE).scatter(1, places[:, 0], part[:, 3])
                        opaque = opaque.view(-1, SIDE, SIDE)[:, PATCH // 2::PATCH, PATCH // 2::PATCH]
                        emoji[picked] = (opaque > 0.5).flatten(1)
        noise = torch.randn(image.shape, device=self.device, generator=generator)
        strength = torch.rand(len(rows), 1, 1, 1, device=self.device, generator=generator) * 0.03
        return (image + noise * strength).clamp(0, 1), emoji

    def normalise(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std

    def backgrounds(self, count: int, generator: torch.Generator) -> Tensor:
        """Sloping colours with soft blotches."""
        def random(*shape: int) -> Tensor:
            return torch.rand(shape, device=self.device, generator=generator)

        axis = (torch.arange(SIDE, device=self.device) + 0.5) / SIDE - 0.5
        angle = random(count, 1, 1, 1) * 2 * math.pi
        slope = axis.view(1, 1, 1, -1) * angle.cos() + axis.view(1, 1, -1, 1) * angle.sin() + 0.5
        first, second = (random(count, 3, 1, 1) * 0.7 + 0.2 for _ in range(2))
        blotches = torch.randn(count, 3, 9, 9, device=self.device, generator=generator)
        blotches = F.interpolate(blotches, size=(SIDE, SIDE), mode="bicubic") * random(count, 1, 1, 1) * 0.15
        return (first + (second - first) * slope + blotches).clamp(0, 1)

    @staticmethod
    def _things(rows: Tensor, tiles: Tensor, window: int) -> tuple[Tensor, Tensor]:
        """Premultiplied RGBA [n, 4, window x window] of things, and which pixels of the picture that is [n, 1, ...]."""
        x, y, half, tile, tilt, mirror, brightness = (rows[:, i].view(-1, 1, 1) for i in range(rows.shape[1]))
        inside = torch.arange(window, device=rows.device)
        left, top = (((centre - window / 2).round().long()).clamp(0, SIDE - window) for centre in (x, y))
        across, down = left + inside.view(1, 1, -1), top + inside.view(1, -1, 1)
        dx, dy = (across + 0.5 - x) / half, (down + 0.5 - y) / half
        cos, sin = tilt.cos(), tilt.sin()
        grid = torch.stack([(dx * cos + dy * sin) * mirror, dy * cos - dx * sin], -1)
        pixels = F.grid_sample(tiles[tile.long().flatten()], grid, align_corners=False)
        shaded = (pixels[:, :3] * brightness.unsqueeze(1)).minimum(pixels[:, 3:])
        return torch.cat([shaded, pixels[:, 3:]], 1).flatten(2), (down * SIDE + across).flatten(1)[:, None]
