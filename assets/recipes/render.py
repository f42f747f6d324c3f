"""Pictures from scenes, in batches and on any device.

Training draws straight at the resolution it needs and roughens the result a little, so that the model also reads
pictures that were saved, compressed and resized by others.
"""

import math
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from atlas import TILE, Atlas
from model import PATCH
from world import MAX_THINGS, SIDE, Thing

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
FIELDS = 7  # x, y, radius, tile, tilt, mirror, brightness
BLOTCHES = 14  # a side
LEVELS = 3  # the atlas at full, half and quarter size, against aliasing
LUMINANCE_TABLE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)


def scene_rows(things: list[Thing], first_tile: np.ndarray) -> np.ndarray:
    """One scene as numbers [MAX_THINGS, FIELDS]; unused rows have radius -1."""
    rows = np.zeros((MAX_THINGS, FIELDS), np.float32)
    rows[:, 2] = -1
    for row, t in zip(rows, things):
        row[:] = (t.x, t.y, t.radius, first_tile[t.kind] + t.style, t.tilt, -1 if t.mirrored else 1, t.brightness)
    return rows


class Renderer:
    """Owns the atlas on one device. Pictures are RGB floats from 0 to 1, [batch, 3, side, side]."""

    def __init__(self, atlas: Atlas, device: str, seed: int):
        tiles = torch.from_numpy(atlas.tiles).permute(0, 3, 1, 2).to(device).float() / 255
        tiles[:, :3] *= tiles[:, 3:]  # premultiplied, so that edges blend without fringes
        self.levels = [tiles.half() if device != "cpu" else tiles]
        for _ in range(LEVELS - 1):
            self.levels.append(F.avg_pool2d(self.levels[-1].float(), 2).to(self.levels[0].dtype))
        sizes = np.diff(atlas.first)
        self.kind_of_tile = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(device)
        self.device = device
        self.rng = Random(seed)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.mean = torch.tensor(MEAN, device=device).view(3, 1, 1)
        self.std = torch.tensor(STD, device=device).view(3, 1, 1)

    def draw(self, rows: np.ndarray, side: int) -> tuple[Tensor, Tensor]:
        """Pictures, and for the centre of every patch the kind shown there plus one (0: background)."""
        image = self.background(len(rows), side)
        patch_kind = torch.zeros(len(rows), side // PATCH, side // PATCH, dtype=torch.int64, device=self.device)
        scale = side / SIDE
        for index in range(MAX_THINGS):  # chosen on the host, so that the device never waits for an answer
            size = 2 * rows[:, index, 2] * scale
            level = np.floor(np.log2(TILE / np.maximum(size, 1))).clip(0, LEVELS - 1)
            for number, tiles in enumerate(self.levels):
                chosen = ((size > 0) & (level == number)).nonzero()[0]
                if len(chosen):
                    shown = torch.from_numpy(rows[chosen, index]).to(self.device, non_blocking=True)
                    where = torch.from_numpy(chosen).to(self.device, non_blocking=True)
                    self._paste(image, patch_kind, where, shown, tiles, scale)
        return image, patch_kind.flatten(1)

    def _paste(self, image: Tensor, patch_kind: Tensor, chosen: Tensor, rows: Tensor, tiles: Tensor, scale: float):
        side = image.shape[-1]
        x, y, radius, _, tilt, mirror, brightness = (rows[:, i].view(-1, 1, 1) for i in range(FIELDS))
        tile = rows[:, 3].long()
        axis = torch.arange(side, device=self.device) + 0.5
        dx, dy = (axis[None, None, :] / scale - x) / radius, (axis[None, :, None] / scale - y) / radius
        cos, sin = tilt.cos(), tilt.sin()
        grid = torch.stack([(dx * cos + dy * sin) * mirror, dy * cos - dx * sin], -1)
        layer = F.grid_sample(tiles[tile].float(), grid, align_corners=False)
        alpha = layer[:, 3:]
        image[chosen] = image[chosen] * (1 - alpha) + layer[:, :3] * brightness[:, None]
        centre = alpha[:, 0, PATCH // 2::PATCH, PATCH // 2::PATCH] > 0.5
        kind = self.kind_of_tile[tile].view(-1, 1, 1) + 1
        patch_kind[chosen] = torch.where(centre, kind, patch_kind[chosen])

    def background(self, count: int, side: int) -> Tensor:
        """A sloping colour; in half of the pictures a second one below a wavy horizon; soft blotches over all."""
        axis = (torch.arange(side, device=self.device) + 0.5) / side
        across, down = axis.view(1, 1, 1, side), axis.view(1, 1, side, 1)
        upper, lower = (
            self.random(count, 3, 1, 1) * 0.7 + 0.2
            + (self.random(count, 3, 1, 1) - 0.5) * 0.4 * across + (self.random(count, 3, 1, 1) - 0.5) * 0.4 * down
            for _ in range(2)
        )
        horizon = self.random(count, 1, 1, 1) * 0.6 + 0.2 + (self.random(count, 1, 1, 1) > 0.5) * 2.0
        waves = 0.04 * torch.sin(across * (self.random(count, 1, 1, 1) * 12) + 6.3 * self.random(count, 1, 1, 1))
        below = ((down - horizon - waves) * 60).sigmoid()
        coarse = torch.randn(count, 3, BLOTCHES, BLOTCHES, device=self.device, generator=self.generator)
        blotches = F.interpolate(coarse, size=(side, side), mode="bilinear")
        return upper * (1 - below) + lower * below + blotches * self.random(count, 1, 1, 1) * 0.08

    def roughen(self, image: Tensor) -> Tensor:
        """Slight loss of sharpness, sensor noise and JPEG-like rounding, each on some pictures."""
        count, _, side, _ = image.shape
        soft = F.interpolate(image, scale_factor=self.rng.uniform(0.5, 0.9), mode="bilinear", antialias=True)
        soft = F.interpolate(soft, size=(side, side), mode="bicubic")
        amount = self.random(count, 1, 1, 1) * (self.random(count, 1, 1, 1) < 0.5)
        image = image * (1 - amount) + soft * amount
        noise = torch.randn(image.shape, device=self.device, generator=self.generator)
        image = (image + noise * self.random(count, 1, 1, 1) * 0.03).clamp(0, 1)
        half = count // 2
        return torch.cat([jpeg_like(image[:half], self.rng.uniform(0.1, 0.6)), image[half:]]).clamp(0, 1)

    def normalise(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std

    def random(self, *shape: int) -> Tensor:
        return torch.rand(shape, device=self.device, generator=self.generator)


def jpeg_like(image: Tensor, strength: float) -> Tensor:
    """Round 8x8 cosine coefficients as a JPEG encoder would; strength 0.2 is about quality 90."""
    n = torch.arange(8, device=image.device).float()
    basis = torch.cos(math.pi / 8 * (n[None] + 0.5) * n[:, None]) / 2
    basis[0] /= math.sqrt(2)
    table = torch.tensor(LUMINANCE_TABLE, device=image.device).view(8, 8) * (strength / 255)
    blocks = image.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)
    coefficients = basis @ blocks @ basis.T
    blocks = basis.T @ ((coefficients / table).round() * table) @ basis
    return blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3)
