"""Compose the sample pictures: hand-placed things of the world on painted backgrounds, with questions.

    python make_samples.py --atlas atlas.npz --out ../samples

Coordinates are in the 336 px square that the model sees after the centre crop; wider pictures only add background.
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from atlas import Atlas, load
from vocabulary import load_kinds
from world import SIDE

DRAWN_AT = 672  # pixels of the square that holds the things


@dataclass(frozen=True)
class Sample:
    """`things`: (name or sign text, x, y, radius). `sky` and `ground`: colours from top to bottom."""

    name: str
    sky: tuple
    ground: tuple
    horizon: float
    things: tuple
    questions: tuple
    width: int = DRAWN_AT
    decoration: str = ""


SAMPLES = (
    Sample("park", ((120, 190, 240), (205, 230, 245)), ((120, 185, 95), (80, 150, 70)), 0.52, (
        ("sun", 55, 52, 34), ("tree", 278, 128, 56), ("PARK", 168, 72, 40), ("dog", 62, 262, 46),
        ("soccer ball", 166, 288, 24), ("bicycle", 270, 272, 48),
    ), (
        ("What is at the bottom left?", "A dog"), ("What does the sign say?", "PARK"),
        ("Where is the bicycle?", "Bottom right"), ("Is the dog to the left of the tree?", "Yes"),
        ("How many things are there?", "6"),
        ("Describe the picture.",
         "The picture shows a sun, a sign that says PARK, a tree, a dog, a soccer ball and a bicycle."),
    ), width=800),
    Sample("harbour", ((90, 150, 210), (235, 215, 190)), ((60, 130, 175), (35, 85, 140)), 0.45, (
        ("sailboat", 62, 168, 50), ("ship", 256, 186, 56), ("dolphin", 152, 276, 40), ("anchor", 44, 288, 28),
        ("cloud", 166, 48, 36), ("24", 290, 62, 36),
    ), (
        ("What is at the right?", "A ship"), ("Where is the anchor?", "Bottom left"),
        ("What is written on the sign?", "24"), ("Is the cloud above the dolphin?", "Yes"),
        ("Is there a whale?", "No"),
    ), width=800, decoration="waves"),
    Sample("kitchen", ((248, 232, 205), (240, 215, 180)), ((180, 130, 90), (140, 95, 60)), 0.66, (
        ("red apple", 48, 280, 34), ("red apple", 122, 286, 31), ("red apple", 192, 281, 33), ("teapot", 284, 268, 44),
        ("clock", 60, 56, 40), ("TEA", 168, 66, 44), ("birthday cake", 276, 150, 40),
    ), (
        ("How many red apples are there?", "3"), ("What is at the top left?", "A clock"),
        ("Where is the birthday cake?", "Right"), ("What does the sign say?", "TEA"), ("Is there a spoon?", "No"),
    )),
    Sample("space", ((12, 14, 40), (30, 22, 70)), ((55, 35, 95), (35, 25, 70)), 0.86, (
        ("rocket", 168, 168, 58), ("moon", 56, 54, 38), ("planet", 276, 66, 46), ("flying saucer", 282, 272, 44),
        ("star", 58, 282, 28), ("telescope", 168, 292, 36),
    ), (
        ("What is at the center?", "A rocket"), ("Where is the planet?", "Top right"),
        ("Is the flying saucer below the planet?", "Yes"), ("How many things can you see?", "6"),
    ), decoration="stars"),
    Sample("shapes", ((238, 240, 244), (216, 222, 232)), ((198, 206, 220), (180, 190, 208)), 0.8, (
        ("red circle", 62, 64, 46), ("blue square", 272, 62, 44), ("green triangle", 168, 168, 50),
        ("yellow ring", 58, 268, 44), ("purple diamond", 278, 274, 48), ("orange cross", 168, 290, 32),
    ), (
        ("What color is the triangle?", "Green"), ("What is at the top right?", "A blue square"),
        ("Is the red circle above the yellow ring?", "Yes"), ("Is there a red square?", "No"),
        ("How many things are in the picture?", "6"),
    )),
    Sample("street", ((170, 200, 225), (225, 230, 235)), ((125, 125, 132), (90, 90, 98)), 0.6, (
        ("traffic light", 38, 168, 46), ("taxi", 168, 270, 50), ("bus", 280, 168, 54), ("GO", 60, 60, 42),
        ("cat", 56, 288, 32), ("airplane", 256, 56, 36), ("umbrella", 284, 290, 34),
    ), (
        ("What does the sign say?", "GO"), ("What is at the bottom?", "A taxi"), ("Where is the bus?", "Right"),
        ("Is the cat below the traffic light?", "Yes"), ("Can you see a truck?", "No"),
    ), width=800),
    Sample("jungle", ((70, 130, 85), (120, 170, 100)), ((60, 105, 55), (40, 75, 40)), 0.6, (
        ("parrot", 60, 58, 40), ("monkey", 282, 66, 46), ("tiger", 168, 178, 56), ("snake", 54, 282, 38),
        ("mushroom", 168, 296, 24), ("frog", 284, 282, 36), ("palm tree", 42, 172, 38),
    ), (
        ("What is at the top right?", "A monkey"), ("Where is the tiger?", "Center"),
        ("Is the parrot left of the monkey?", "Yes"), ("How many frogs are there?", "1"),
        ("Is there a lion in the picture?", "No"),
    )),
)


def slope(top: tuple, bottom: tuple, height: int, width: int) -> np.ndarray:
    down = np.linspace(0, 1, height)[:, None, None]
    return np.broadcast_to(np.array(top) * (1 - down) + np.array(bottom) * down, (height, width, 3))


def paint_background(sample: Sample) -> Image.Image:
    width, height = sample.width, DRAWN_AT
    x = np.arange(width)
    line = sample.horizon * height + 14 * np.sin(x / 95) + 6 * np.sin(x / 37 + 1)
    below = 1 / (1 + np.exp(-(np.arange(height)[:, None] - line) / 1.5))[..., None]
    pixels = slope(*sample.sky, height, width) * (1 - below) + slope(*sample.ground, height, width) * below
    image = Image.fromarray(pixels.round().astype(np.uint8)).convert("RGBA")
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    if sample.decoration == "stars":
        for i in range(70):
            px, py, size = (i * 197) % width, (i * 331 + i * i * 7) % int(height * 0.8), 1 + i % 2
            draw.ellipse((px - size, py - size, px + size, py + size), fill=(255, 255, 240, 130))
    if sample.decoration == "waves":
        for i in range(5):
            base = height * (0.55 + 0.09 * i)
            points = [(px, base + 5 * math.sin(px / 24 + i)) for px in range(0, width + 4, 4)]
            draw.line(points, fill=(255, 255, 255, 45), width=3)
    return Image.alpha_composite(image, layer.filter(ImageFilter.GaussianBlur(0.8)))


def compose(sample: Sample, atlas: Atlas) -> Image.Image:
    tiles = {kind.text or kind.name: int(atlas.first[i]) for i, kind in enumerate(load_kinds())}
    image = paint_background(sample)
    scale, left = DRAWN_AT / SIDE, (sample.width - DRAWN_AT) // 2
    for name, x, y, radius in sample.things:
        side = round(2 * radius * scale)
        tile = Image.fromarray(atlas.tiles[tiles[name]]).resize((side, side), Image.LANCZOS)
        image.alpha_composite(tile, (left + round(x * scale - side / 2), round(y * scale - side / 2)))
    return image.convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atlas", type=Path, default=Path("atlas.npz"))
    parser.add_argument("--out", type=Path, default=Path("../samples"))
    options = parser.parse_args()
    atlas = load(options.atlas)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for sample in SAMPLES:
        file = f"{sample.name}.png"
        compose(sample, atlas).quantize(256, dither=Image.Dither.NONE).save(options.out / file, optimize=True)
        rows += [{"image": file, "question": q, "answer": a} for q, a in sample.questions]
    (options.out / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
