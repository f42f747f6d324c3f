"""Draw every thing of the world once, as a square RGBA tile, and store the tiles in one file.

    python atlas.py --out atlas.npz

Needs the fonts of the Debian packages fonts-noto-color-emoji and fonts-dejavu-core.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vocabulary import COLORS, SIGN_STYLES, Kind, load_kinds

TILE = 128
GLYPH_SIZE = 109  # the only size the bitmap font holds
EMOJI_FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
TEXT_FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf"


@dataclass
class Atlas:
    """`tiles` [n, TILE, TILE, 4] uint8; tiles of kind k are first[k] .. first[k + 1] - 1 (signs have one per style)."""

    tiles: np.ndarray
    first: np.ndarray


def draw_emoji(code_point: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    canvas = Image.new("RGBA", (136, 136), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((0, 4), chr(int(code_point, 16)), font=font, embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise ValueError(f"the emoji font has no picture for U+{code_point}")
    glyph = canvas.crop(box)
    side = max(glyph.size)
    square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    square.paste(glyph, ((side - glyph.width) // 2, (side - glyph.height) // 2))
    return square.resize((TILE, TILE), Image.LANCZOS)


def draw_shape(shape: str, color: str) -> Image.Image:
    size = 4 * TILE
    image = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    fill = COLORS[color]
    edge = tuple(value * 6 // 10 for value in fill)
    low, high, middle = 12, size - 12, size / 2

    if shape == "circle":
        draw.ellipse((low, low, high, high), fill=fill, outline=edge, width=12)
    elif shape == "ring":
        draw.ellipse((low, low, high, high), fill=fill, outline=edge, width=12)
        draw.ellipse((low + 110, low + 110, high - 110, high - 110), fill=(0, 0, 0, 0), outline=edge, width=12)
    elif shape == "square":
        draw.rectangle((low + 24, low + 24, high - 24, high - 24), fill=fill, outline=edge, width=12)
    else:
        a, b = size * 0.34, size * 0.66
        corners = {
            "triangle": [(middle, low), (high, high - 24), (low, high - 24)],
            "diamond": [(middle, low), (high, middle), (middle, high), (low, middle)],
            "cross": [(a, low), (b, low), (b, a), (high, a), (high, b), (b, b),
                      (b, high), (a, high), (a, b), (low, b), (low, a), (a, a)],
        }[shape]
        draw.polygon(corners, fill=fill)
        draw.line(corners + corners[:2], fill=edge, width=12, joint="curve")
    return image.resize((TILE, TILE), Image.LANCZOS)


def draw_sign(text: str, board: tuple, ink: tuple, font_file: str) -> Image.Image:
    size = 2 * TILE
    image = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    points = 120
    while True:
        font = ImageFont.truetype(font_file, points)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        if right - left <= size - 44:
            break
        points -= 2
    width, height = right - left + 36, bottom - top + 44
    x, y = (size - width) // 2, (size - height) // 2
    draw.rounded_rectangle((x, y, x + width, y + height), radius=14, fill=board, outline=ink, width=7)
    draw.text((x + 18 - left, y + 22 - top), text, font=font, fill=ink)
    return image.resize((TILE, TILE), Image.LANCZOS)


def draw_kind(kind: Kind, emoji_font: ImageFont.FreeTypeFont, text_font: str) -> list[Image.Image]:
    if kind.text:
        return [draw_sign(kind.text, board, ink, text_font) for board, ink in SIGN_STYLES]
    if kind.shape:
        return [draw_shape(kind.shape, kind.color)]
    return [draw_emoji(kind.code_point, emoji_font)]


def build(emoji_font: str = EMOJI_FONT, text_font: str = TEXT_FONT) -> Atlas:
    font = ImageFont.truetype(emoji_font, GLYPH_SIZE)
    tiles, first = [], [0]
    for kind in load_kinds():
        tiles += [np.asarray(image) for image in draw_kind(kind, font, text_font)]
        first.append(len(tiles))
    return Atlas(np.stack(tiles), np.array(first, np.int64))


def save(atlas: Atlas, path: Path) -> None:
    np.savez_compressed(path, tiles=atlas.tiles, first=atlas.first)


def load(path: Path) -> Atlas:
    with np.load(path) as file:
        return Atlas(file["tiles"], file["first"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("atlas.npz"))
    parser.add_argument("--emoji-font", default=EMOJI_FONT)
    parser.add_argument("--text-font", default=TEXT_FONT)
    options = parser.parse_args()
    atlas = build(options.emoji_font, options.text_font)
    save(atlas, options.out)
    print(f"{options.out}: {len(atlas.first) - 1} kinds, {len(atlas.tiles)} tiles")


if __name__ == "__main__":
    main()
