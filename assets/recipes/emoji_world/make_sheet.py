"""Draw a sheet of pictures of the world, each with a question, and a clip.

    python -m emoji_world.make_sheet --out emoji_world/sheet.png
"""

import argparse
import textwrap
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw, ImageFont

from emoji_world import MADE
from emoji_world.atlas import FONT_FOLDER, FONTS, Atlas, load
from emoji_world.make_eval import paint
from emoji_world.questions import Asker, Question
from emoji_world.render import Renderer
from emoji_world.splits import rng_of
from emoji_world.vocabulary import load_kinds
from emoji_world.world import Scene, World

ASKED = (  # (aspect ratio, category) of every picture
    ("4:3", "at"), ("1:1", "count"), ("3:4", "sign"), ("16:9", "left"),
    ("9:16", "colour"), ("16:9", "where"), ("1:1", "exists"), ("4:3", "total"),
)
COLUMNS, FRAMES, DRAWN_AT = 4, 4, 640
WIDTH, HEIGHT, CAPTION, GAP = 290, 240, 56, 16


def caption(sheet: Image.Image, column: int, row: int, question: Question) -> None:
    font = ImageFont.truetype(str(FONT_FOLDER / FONTS[1]), 13)
    draw = ImageDraw.Draw(sheet)
    lines = textwrap.wrap(question.text, 44)
    left, top = corner(column, row)
    written = [(line, (45, 45, 45)) for line in lines] + [(question.answer, (20, 95, 170))]
    for number, (line, color) in enumerate(written):
        draw.text((left, top + HEIGHT + 4 + 16 * number), line, font=font, fill=color)


def corner(column: int, row: int) -> tuple[int, int]:
    return GAP + column * (WIDTH + GAP), GAP + row * (HEIGHT + CAPTION)


def draw_sheet(atlas: Atlas, rng: Random) -> Image.Image:
    world, renderer = World(load_kinds()), Renderer(atlas, "cpu", 0)
    asker = Asker(world)
    rows = len(ASKED) // COLUMNS + 1
    sheet = Image.new("RGB", (corner(COLUMNS, 0)[0], corner(0, rows)[1]), (255, 255, 255))

    def show(frames: tuple[Scene, ...], column: int, row: int) -> None:
        for number, pixels in enumerate(paint(frames, DRAWN_AT, atlas, renderer, rng.getrandbits(60))):
            picture = Image.fromarray(pixels)
            picture.thumbnail((WIDTH, HEIGHT), Image.LANCZOS)
            left, top = corner(column + number, row)
            sheet.paste(picture, (left, top + HEIGHT - picture.height))

    for place, (aspect, category) in enumerate(ASKED):
        question = None
        while question is None or question.answer in ("0", "No"):
            scene = world.scene(rng, aspect)
            question = asker.ask(category, scene, rng)
        show((scene,), place % COLUMNS, place // COLUMNS)
        caption(sheet, place % COLUMNS, place // COLUMNS, question)
    asked: list[Question] = []
    while len(asked) < 2:
        clip = world.clip(rng, "4:3", FRAMES)
        asked = [q for category in ("motion", "appeared") if (q := asker.ask(category, clip, rng))]
    show(clip.frames, 0, rows - 1)
    for number, question in enumerate(asked):
        caption(sheet, 2 * number, rows - 1, question)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atlas", type=Path, default=MADE / "atlas.npz")
    parser.add_argument("--seed", default="4")
    parser.add_argument("--out", type=Path, default=Path("emoji_world/sheet.png"))
    options = parser.parse_args()
    sheet = draw_sheet(load(options.atlas), rng_of("development", f"sheet {options.seed}"))
    palette = sheet.quantize(256, Image.Quantize.FASTOCTREE)
    sheet.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(options.out, optimize=True)
    print(f"{options.out}: {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
