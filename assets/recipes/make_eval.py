"""Write the held-out set: pictures, LLaVA question JSONL and labels.

    python make_eval.py --atlas atlas.npz --out ../eval

The seed differs from every training seed. The pictures are JPEG files of several sizes, so that reading and resizing
them is part of what is measured. `evidence` lists the visual tokens (raster indices of the 24x24 grid) that show the
things which hold a question's answer; it is empty where the answer is that something is missing.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from atlas import TILE, Atlas, load
from model import PATCH
from questions import CATEGORIES, Asker, Question
from render import Renderer, scene_rows
from vocabulary import load_kinds
from world import SIDE, Thing, World

NAME = "emoji-world"
SEED = 990_001
SIDES = (336, 384, 448)
QUALITY = 88
ROUNDS = 8  # over all pictures, in search of more questions of one category


def ask_about(scenes: list[list[Thing]], asker: Asker, wanted: int, rng: Random) -> list[tuple[int, Question]]:
    """Up to `wanted` questions of every category, none twice, spread evenly over the pictures."""
    chosen = []
    used = defaultdict(int)
    for category in sorted(CATEGORIES, key=lambda c: c not in ("colour", "sign", "relation")):
        subjects = set()
        for _ in range(ROUNDS):
            for index in sorted(range(len(scenes)), key=lambda i: (used[i], rng.random())):
                question = asker.ask(category, scenes[index], rng)
                if question and len(subjects) < wanted and (index, question.subject) not in subjects:
                    subjects.add((index, question.subject))
                    chosen.append((index, question))
                    used[index] += 1
    return sorted(chosen, key=lambda item: (item[0], CATEGORIES.index(item[1].category)))


def draw_scenes(world: World, asker: Asker, count: int, rng: Random) -> list[list[Thing]]:
    """Random scenes, five of six rich enough for a question of every category."""
    scenes: list[list[Thing]] = []
    while len(scenes) < count:
        things = world.scene(rng)
        if len(scenes) % 6 == 0 or all(asker.ask(category, things, rng) for category in CATEGORIES):
            scenes.append(things)
    return scenes


def tile_boxes(atlas: Atlas) -> np.ndarray:
    """Per tile: left, top, right and bottom of what is not transparent, in halves of the tile's side from its centre."""
    boxes = np.zeros((len(atlas.tiles), 4))
    for box, tile in zip(boxes, atlas.tiles):
        rows, cols = np.nonzero(tile[..., 3] > 127)
        box[:] = cols.min(), rows.min(), cols.max() + 1, rows.max() + 1
    return boxes / (TILE / 2) - 1


def evidence(question: Question, boxes: np.ndarray, first_tile: np.ndarray) -> list[int]:
    """Raster indices of the patches that the boxes of the question's things touch."""
    patches = set()
    side = int(SIDE) // PATCH
    for thing in question.shown:
        left, top, right, bottom = boxes[first_tile[thing.kind] + thing.style]
        if thing.mirrored:
            left, right = -right, -left
        corners = np.array([(left, top), (right, top), (left, bottom), (right, bottom)]) * thing.radius
        turn = np.array([[np.cos(thing.tilt), np.sin(thing.tilt)], [-np.sin(thing.tilt), np.cos(thing.tilt)]])
        reach = corners @ turn + (thing.x, thing.y)
        low = np.clip(np.floor(reach.min(0) / PATCH), 0, side - 1).astype(int)
        high = np.clip(np.ceil(reach.max(0) / PATCH), 1, side).astype(int)
        patches.update(row * side + col for row in range(low[1], high[1]) for col in range(low[0], high[0]))
    return sorted(int(patch) for patch in patches)


def write_pictures(scenes: list[list[Thing]], atlas: Atlas, folder: Path, seed: int) -> list[str]:
    renderer = Renderer(atlas, "cpu", seed)
    names = []
    for index, things in enumerate(scenes):
        side = SIDES[index % len(SIDES)]
        image = renderer.draw(scene_rows(things, atlas.first)[None], side)[0][0].clamp(0, 1)
        pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        name = f"{NAME}-{index:03d}.jpg"
        Image.fromarray(pixels).save(folder / name, quality=QUALITY, optimize=True)
        names.append(name)
    return names


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atlas", type=Path, default=Path("atlas.npz"))
    parser.add_argument("--out", type=Path, default=Path("../eval"))
    parser.add_argument("--pictures", type=int, default=160)
    parser.add_argument("--per-category", type=int, default=150)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()

    rng = Random(options.seed)
    world = World(load_kinds())
    asker = Asker(world)
    scenes = draw_scenes(world, asker, options.pictures, rng)
    asked = ask_about(scenes, asker, options.per_category, rng)
    (options.out / "images").mkdir(parents=True, exist_ok=True)
    atlas = load(options.atlas)
    names = write_pictures(scenes, atlas, options.out / "images", options.seed)
    boxes = tile_boxes(atlas)
    write_lines(options.out / f"{NAME}.jsonl", [
        {"question_id": i, "image": names[picture], "text": question.text, "category": question.category,
         "evidence": evidence(question, boxes, atlas.first)}
        for i, (picture, question) in enumerate(asked)
    ])
    write_lines(options.out / f"{NAME}-labels.jsonl", [
        {"question_id": i, "answer": question.answer} for i, (_, question) in enumerate(asked)
    ])
    print(f"{len(asked)} questions about {len(names)} pictures")


if __name__ == "__main__":
    main()
