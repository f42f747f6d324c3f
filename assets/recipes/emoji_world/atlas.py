"""Draw every thing of the world once, as square tiles, and some layers of clutter, and store all in one file.

    python -m emoji_world.atlas

Needs the fonts of the Debian packages in README.md.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from atlas import EMOJI_FONT, GLYPH_SIZE, TILE, draw_emoji, draw_shape
from emoji_world import MADE
from emoji_world.vocabulary import CAP_HEIGHT, Kind, load_kinds, smallest_sign

FONTS = (
    "truetype/dejavu/DejaVuSans-Bold.ttf", "truetype/liberation2/LiberationSans-Bold.ttf",
    "truetype/liberation2/LiberationSerif-Bold.ttf", "opentype/roboto/slab/RobotoSlab-Bold.otf",
    "opentype/comic-neue/ComicNeue-Bold.otf", "opentype/bebas-neue/BebasNeue-Bold.otf",
    "opentype/yanone-kaffeesatz/YanoneKaffeesatz-Bold.otf",
)
FONT_FOLDER = Path("/usr/share/fonts")
FEWEST_FONTS = 2  # in which every text must fit
SIGN_STYLES = (  # (board, ink)
    ((250, 250, 245), (20, 20, 20)), ((250, 210, 60), (25, 25, 25)), ((30, 90, 170), (250, 250, 250)),
    ((20, 120, 75), (250, 250, 250)), ((185, 35, 40), (255, 250, 240)), ((45, 45, 52), (245, 235, 200)),
)
CLUTTER_LAYERS, CLUTTER_SIDE = 24, 256
DRAWN = 3  # times the size of a tile, before it is scaled down


@dataclass
class Atlas:
    """`tiles` [n, TILE, TILE, 4] uint8; tiles of kind k are first[k] .. first[k + 1] - 1 (signs have several).
    `clutter` [layers, side, side] uint8: how much of a background's second colour shows through."""

    tiles: np.ndarray
    first: np.ndarray
    clutter: np.ndarray


def draw_sign(text: str, font_file: Path, board: tuple, ink: tuple) -> Image.Image | None:
    """The text on a board as wide as the tile or less, its letters exactly as high as the sign's smallest side asks
    for; None where the font is too wide for that."""
    side = DRAWN * TILE
    wanted = side * CAP_HEIGHT / smallest_sign(text)
    probe = ImageFont.truetype(str(font_file), 200)
    _, top, _, bottom = probe.getbbox("1" if text.isdigit() else "H")
    font = ImageFont.truetype(str(font_file), math.ceil(200 * wanted / (bottom - top)))
    left, top, right, bottom = font.getbbox(text)
    across, down, line = 0.30 * wanted, 0.36 * wanted, max(3, side // 70)
    width, height = right - left + 2 * across, bottom - top + 2 * down
    if width > side:
        return None
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    x, y = (side - width) / 2, (side - height) / 2
    box = (x, y, x + width - 1, y + height - 1)
    draw.rounded_rectangle(box, radius=side // 24, fill=board, outline=ink, width=line)
    draw.text((x + across - left, y + down - top), text, font=font, fill=ink)
    return image.resize((TILE, TILE), Image.LANCZOS)


def draw_signs(text: str, number: int) -> list[Image.Image]:
    """The text in every font that has room for it, in changing colours."""
    drawn = []
    for index, font in enumerate(FONTS):
        board, ink = SIGN_STYLES[(number + index) % len(SIGN_STYLES)]
        drawn.append(draw_sign(text, FONT_FOLDER / font, board, ink))
    fitting = [image for image in drawn if image]
    if len(fitting) < FEWEST_FONTS:
        raise ValueError(f"{text} fits into {len(fitting)} fonts only: raise SMALLEST_SIGN or leave it out")
    return fitting


def draw_kind(kind: Kind, number: int, emoji_font: ImageFont.FreeTypeFont) -> list[Image.Image]:
    if kind.text:
        return draw_signs(kind.text, number)
    return [draw_shape(kind.shape, kind.color) if kind.shape else draw_emoji(kind.code_point, emoji_font)]


def draw_clutter(rng: Random) -> Image.Image:
    """Strokes, speckles or scraps, none of which looks like a thing of the world."""
    side = 2 * CLUTTER_SIDE
    image = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(image)
    style = rng.choice(("grass", "scribbles", "speckles", "scraps", "cracks"))
    number = {"grass": 260, "scribbles": 26, "speckles": 420, "scraps": 70, "cracks": 16}[style]
    lean = rng.uniform(0, math.pi)
    for _ in range(number):
        x, y, shade = rng.uniform(0, side), rng.uniform(0, side), rng.randint(110, 255)
        if style == "speckles":
            size = rng.uniform(1.5, 5)
            points = [(x - size, y), (x, y - size * rng.uniform(0.5, 1.4)), (x + size, y), (x, y + size)]
        elif style == "scraps":
            size, turn = rng.uniform(5, 14), rng.uniform(0, math.pi)
            points = [(x + size * rng.uniform(0.3, 1.2) * math.cos(turn + k), y + size * rng.uniform(0.3, 1.2) *
                       math.sin(turn + k)) for k in (0.0, 1.1, 2.3, 3.6, 4.9)]
        else:
            turn = lean + rng.uniform(-0.5, 0.5) if style == "grass" else rng.uniform(0, 2 * math.pi)
            length, bend = {"grass": (14, 0.1), "scribbles": (110, 0.8), "cracks": (240, 0.5)}[style]
            points, step = [(x, y)], length * rng.uniform(0.5, 1.3) / 8
            for _ in range(8):
                turn += rng.uniform(-bend, bend)
                points.append((points[-1][0] + step * math.cos(turn), points[-1][1] + step * math.sin(turn)))
        if style in ("speckles", "scraps"):
            draw.polygon(points, fill=shade)
        else:
            draw.line(points, fill=shade, width=rng.choice((2, 3)) if style == "grass" else 3, joint="curve")
    return image.filter(ImageFilter.GaussianBlur(0.8)).resize((CLUTTER_SIDE, CLUTTER_SIDE), Image.BOX)


def build() -> Atlas:
    font = ImageFont.truetype(EMOJI_FONT, GLYPH_SIZE)
    tiles, first = [], [0]
    for number, kind in enumerate(load_kinds()):
        tiles += [np.asarray(image) for image in draw_kind(kind, number, font)]
        first.append(len(tiles))
    rng = Random("clutter")
    clutter = [np.asarray(draw_clutter(rng)) for _ in range(CLUTTER_LAYERS)]
    return Atlas(np.stack(tiles), np.array(first, np.int64), np.stack(clutter))


def save(atlas: Atlas, path: Path) -> None:
    np.savez_compressed(path, tiles=atlas.tiles, first=atlas.first, clutter=atlas.clutter)


def load(path: Path) -> Atlas:
    with np.load(path) as file:
        return Atlas(file["tiles"], file["first"], file["clutter"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=MADE / "atlas.npz")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    atlas = build()
    save(atlas, options.out)
    print(f"{options.out}: {len(atlas.first) - 1} kinds, {len(atlas.tiles)} tiles, {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
