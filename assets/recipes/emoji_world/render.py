"""Pictures from scenes, in batches and on any device.

Training draws straight into the padded square at the resolution it needs; held-out pictures are drawn larger and cut
out of the square, so that reading, padding and resizing them is part of what is measured.
"""

import math
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import render as first_world
from atlas import TILE
from emoji_world.atlas import Atlas
from emoji_world.world import MOST, SIDE, Scene
from model import GRID, PATCH

FIELDS = 7  # x, y, half size, tile, tilt, mirror, brightness
LEVELS = 4  # tiles at full, half, quarter and eighth size, against aliasing
PADDING = tuple(int(255 * value) / 255 for value in first_world.MEAN)
VISIBLE = 0.1  # opacity from which a pixel shows something of a thing


def scene_rows(scene: Scene, first_tile: np.ndarray) -> np.ndarray:
    """One scene as numbers [MOST, FIELDS], in coordinates of the padded square; unused rows have half size -1."""
    rows = np.zeros((MOST, FIELDS), np.float32)
    rows[:, 2] = -1
    left, top = (SIDE - scene.width) / 2, (SIDE - scene.height) / 2
    for row, t in zip(rows, scene.things):
        tiles = first_tile[t.kind + 1] - first_tile[t.kind]
        row[:] = (left + t.x, top + t.y, t.size / 2, first_tile[t.kind] + int(t.style * tiles), t.tilt,
                  -1 if t.mirrored else 1, t.brightness)
    return rows


@dataclass
class Layer:
    """Things of about one size, each for one of the pictures `chosen`: their rows `shown`, and their RGBA `pixels`
    within a `box` (left, top, right, bottom) that holds all of them and begins where patches do."""

    chosen: Tensor
    shown: Tensor
    pixels: Tensor
    box: tuple[int, int, int, int]

    def window(self, unit: int) -> tuple[slice, slice]:
        """Rows and columns of the box, counted in pixels or in patches whose centre is in the picture."""
        left, top, right, bottom = self.box
        if unit == 1:
            return slice(top, bottom), slice(left, right)
        first, last = (left // unit, top // unit), tuple(len(range(unit // 2, end, unit)) for end in (right, bottom))
        return slice(first[1], last[1]), slice(first[0], last[0])


class Renderer(first_world.Renderer):
    """Owns the atlas on one device. Pictures are RGB floats from 0 to 1, [batch, 3, side, side]."""

    def __init__(self, atlas: Atlas, device: str, seed: int):
        tiles = torch.from_numpy(atlas.tiles).permute(0, 3, 1, 2)
        alpha = tiles[:, 3:].float() / 255
        tiles = torch.cat([(tiles[:, :3] * alpha).round().byte(), tiles[:, 3:]], 1)  # edges blend without fringes
        self.levels = [tiles.contiguous().to(device)]
        for _ in range(LEVELS - 1):
            self.levels.append(F.avg_pool2d(self.levels[-1].float(), 2).round().byte())
        self.clutter = torch.from_numpy(atlas.clutter)[:, None].to(device)
        sizes = np.diff(atlas.first)
        self.kind_of_tile = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(device)
        self.device = device
        self.reseed(seed)
        self.mean = torch.tensor(first_world.MEAN, device=device).view(3, 1, 1)
        self.std = torch.tensor(first_world.STD, device=device).view(3, 1, 1)
        self.padding = torch.tensor(PADDING, device=device).view(3, 1, 1)

    def reseed(self, seed: int) -> None:
        self.rng = Random(seed)
        self.generator = torch.Generator(self.device).manual_seed(seed)

    def draw(self, rows: np.ndarray, backgrounds: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Pictures [n, 3, side, side] of `rows` [n, MOST, FIELDS] before `backgrounds`, and for the centre of every
        patch the kind shown there plus one (0: background)."""
        image = backgrounds.clone()
        patches = len(range(PATCH // 2, side, PATCH))
        patch_kind = torch.zeros(len(rows), patches, patches, dtype=torch.int64, device=self.device)
        for index in range(rows.shape[1]):
            for layer in self._layers(rows[:, index], side):
                alpha, part = layer.pixels[:, 3:], (layer.chosen, slice(None), *layer.window(1))
                shaded = layer.pixels[:, :3] * layer.shown[:, 6].view(-1, 1, 1, 1)
                image[part] = image[part] * (1 - alpha) + shaded
                centre = alpha[:, 0, PATCH // 2::PATCH, PATCH // 2::PATCH] > 0.5
                kind = self.kind_of_tile[layer.shown[:, 3].long()].view(-1, 1, 1) + 1
                part = (layer.chosen, *layer.window(PATCH))
                patch_kind[part] = torch.where(centre, kind, patch_kind[part])
        return image.clamp(0, 1), patch_kind.flatten(1)

    def coverage(self, rows: np.ndarray) -> np.ndarray:
        """Pixels of every cell of the 24x24 grid in which each row's thing can be seen: [rows, cells]."""
        covered = torch.zeros(len(rows), GRID, GRID, dtype=torch.int64, device=self.device)
        for index in range(len(rows)):
            for layer in self._layers(rows[index:index + 1], int(SIDE)):
                visible = (layer.pixels[:, 3] > VISIBLE).float()
                cells = (F.avg_pool2d(visible, PATCH) * PATCH * PATCH).round().long()
                covered[(index, *layer.window(PATCH))] = cells[0]
        return covered.flatten(1).cpu().numpy()

    def _layers(self, rows: np.ndarray, side: int):
        """The things in `rows` [n, FIELDS], by size. Chosen on the host, so that the device never waits for an
        answer."""
        scale = side / SIDE
        size = 2 * rows[:, 2] * scale
        level = np.floor(np.log2(TILE / np.maximum(size, 1))).clip(0, LEVELS - 1)
        axis = (torch.arange(side, device=self.device) + 0.5) / scale
        for number, tiles in enumerate(self.levels):
            chosen = ((size > 0) & (level == number)).nonzero()[0]
            if not len(chosen):
                continue
            reach = 1.25 * rows[chosen, 2, None]
            low = (rows[chosen, :2] - reach).min(0) * scale
            high = (rows[chosen, :2] + reach).max(0) * scale
            left, top = (max(0, int(value) // PATCH * PATCH) for value in low)
            right, bottom = (min(side, -(-int(value + 1) // PATCH) * PATCH) for value in high)
            shown = torch.from_numpy(rows[chosen]).to(self.device, non_blocking=True)
            x, y, half, _, tilt, mirror, _ = (shown[:, i].view(-1, 1, 1) for i in range(FIELDS))
            dx, dy = (axis[None, None, left:right] - x) / half, (axis[None, top:bottom, None] - y) / half
            cos, sin = tilt.cos(), tilt.sin()
            grid = torch.stack([(dx * cos + dy * sin) * mirror, dy * cos - dx * sin], -1)
            pixels = F.grid_sample(tiles[shown[:, 3].long()].float() / 255, grid, align_corners=False)
            chosen = torch.from_numpy(chosen).to(self.device, non_blocking=True)
            yield Layer(chosen, shown, pixels, (left, top, right, bottom))

    def backgrounds(self, count: int, side: int) -> Tensor:
        """Plain, sloping or textured in equal parts, all in quiet colours; strokes and scraps over most of them."""
        axis = (torch.arange(side, device=self.device) + 0.5) / side
        across, down = axis.view(1, 1, 1, side), axis.view(1, 1, side, 1)
        first = self.random(count, 1, 1, 1) * 0.62 + 0.28 + (self.random(count, 3, 1, 1) - 0.5) * 0.26
        second = first + (self.random(count, 3, 1, 1) - 0.5) * 0.3 + (self.random(count, 1, 1, 1) - 0.5) * 0.24
        style = torch.randint(0, 3, (count, 1, 1, 1), device=self.device, generator=self.generator)

        angle = self.random(count, 1, 1, 1) * 2 * math.pi
        along = (across - 0.5) * angle.cos() + (down - 0.5) * angle.sin()
        aside = (down - 0.5) * angle.cos() - (across - 0.5) * angle.sin()
        coarse = torch.randn(count, 1, 9, 9, device=self.device, generator=self.generator)
        clouds = F.interpolate(coarse, size=(side, side), mode="bicubic")
        pitch = self.random(count, 1, 1, 1) * 90 + 20
        stripes = torch.sin(along * pitch + clouds * self.random(count, 1, 1, 1))
        checks = stripes * torch.sin(aside * pitch)
        textures = torch.stack([stripes * 0.5, checks * 0.7, clouds * 0.5], 1).flatten(0, 1)
        choice = torch.randint(0, 3, (count,), device=self.device, generator=self.generator)
        texture = textures[torch.arange(count, device=self.device) * 3 + choice] * 0.6 + 0.5
        mixed = torch.where(style == 1, along + 0.5, texture) * (style > 0)
        return self._cluttered((first + (second - first) * mixed).clamp(0.02, 0.98), side)

    def _cluttered(self, image: Tensor, side: int) -> Tensor:
        count = len(image)
        layer = torch.randint(0, len(self.clutter), (count,), device=self.device, generator=self.generator)
        angle = self.random(count) * 2 * math.pi
        scale = self.random(count) * 0.7 + 0.7
        cos, sin = angle.cos() * scale, angle.sin() * scale
        turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)
        shift = self.random(count, 2, 1) * 2 - 1
        grid = F.affine_grid(torch.cat([turn, shift], 2), [count, 1, side, side], align_corners=False)
        strokes = F.grid_sample(self.clutter[layer].float() / 255, grid, padding_mode="reflection", align_corners=False)
        strength = (self.random(count, 1, 1, 1) * 0.4 + 0.15) * (self.random(count, 1, 1, 1) < 0.7)
        other = (image.mean((2, 3), keepdim=True) + (self.random(count, 3, 1, 1) - 0.5) * 0.9).clamp(0, 1)
        return image + (other - image) * strokes * strength

    def pad(self, image: Tensor, sizes: Tensor) -> Tensor:
        """The mean colour around pictures of `sizes` [n, 2] (width and height in pixels of SIDE), as padding to a
        square and resizing leave it: a border pixel shows as much of the picture as lies in it."""
        scale = image.shape[-1] / SIDE
        axis = torch.arange(image.shape[-1], device=self.device)
        inside = []
        for length in (sizes[:, 0], sizes[:, 1]):
            low = ((SIDE - length) / 2 * scale).view(-1, 1)
            high = ((SIDE + length) / 2 * scale).view(-1, 1)
            inside.append((torch.minimum(axis + 1, high) - torch.maximum(axis, low)).clamp(0, 1))
        share = (inside[0][:, None, :] * inside[1][:, :, None])[:, None]
        return self.padding + (image - self.padding) * share
