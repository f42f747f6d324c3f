"""Write a held-out set: pictures, LLaVA question JSONL with evidence, and labels.

    python -m emoji_world.make_eval --split test --out ../eval
    python -m emoji_world.make_eval --split test --seed 2 --pictures 1400 --clips 340 --per-category 720 --out more

`evidence` lists visual tokens, ascending: the cells of the 24x24 grid of the padded square, row by row, in which the
things can be seen that hold the answer; those of frame f count on from 576 f. It is empty where the answer is that
something is missing, and where no picture is needed. `image` is a list of frames for a clip, and absent where no
picture is needed. Labels of descriptions list the `things` that should be named. Prints what the set is made of, and
fails if it is unbalanced.
"""

import argparse
import json
import sys
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from emoji_world import MADE
from emoji_world.atlas import Atlas, load
from emoji_world.balance import report
from emoji_world.heldout import HeldOut, frames_of, make
from emoji_world.render import Renderer, scene_rows
from emoji_world.splits import SPLITS, rng_of
from emoji_world.vocabulary import load_kinds
from emoji_world.world import SIDE, Clip, Scene, World

LONG_SIDES = (320, 352, 384, 416)  # divisible by 32, so that padding is the same on both sides
CLIP_SIDE = 320
QUALITY = 85


def paint(frames: tuple[Scene, ...], side: int, atlas: Atlas, renderer: Renderer, seed: int) -> list[np.ndarray]:
    """The frames before one background, as RGB pixels without padding."""
    renderer.reseed(seed)
    background = renderer.backgrounds(1, side)
    painted = []
    for frame in frames:
        square = renderer.draw(scene_rows(frame, atlas.first)[None], background, side)[0][0]
        width, height = round(frame.width * side / SIDE), round(frame.height * side / SIDE)
        left, top = (side - width) // 2, (side - height) // 2
        cut = square[:, top:top + height, left:left + width]
        painted.append((cut.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    return painted


def write_pictures(held_out: HeldOut, atlas: Atlas, renderer: Renderer, folder: Path, rng: Random) -> list[list[str]]:
    """File names of every picture or clip."""
    folder.mkdir(parents=True, exist_ok=True)
    names, clips = [], 0
    for index, seen in enumerate(held_out.seen):
        is_clip = isinstance(seen, Clip)
        clips += is_clip
        side = CLIP_SIDE if is_clip else LONG_SIDES[index % len(LONG_SIDES)]
        painted = paint(frames_of(seen), side, atlas, renderer, rng.getrandbits(60))
        names.append([f"clip-{clips - 1:04d}-{frame}.jpg" if is_clip else f"picture-{index:04d}.jpg"
                      for frame in range(len(painted))])
        for name, pixels in zip(names[-1], painted):
            Image.fromarray(pixels).save(folder / name, quality=QUALITY, optimize=True)
    return names


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row, separators=(", ", ": ")) + "\n" for row in rows))


def write_questions(held_out: HeldOut, names: list[list[str]], out: Path) -> None:
    questions, labels = [], []
    for number, asked in enumerate(held_out.asked):
        question = asked.question
        shown = {}
        if asked.about is not None:
            files = names[asked.about]
            shown["image"] = files if isinstance(held_out.seen[asked.about], Clip) else files[0]
        questions.append({"question_id": number, **shown, "text": question.text, "category": question.category,
                          "evidence": list(asked.evidence)})
        label = {"question_id": number, "answer": question.answer}
        labels.append(label | ({"things": list(question.names)} if question.names else {}))
    write_lines(out / "questions.jsonl", questions)
    write_lines(out / "questions-labels.jsonl", labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atlas", type=Path, default=MADE / "atlas.npz")
    parser.add_argument("--split", choices=SPLITS, required=True)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--pictures", type=int, default=220)
    parser.add_argument("--clips", type=int, default=49)
    parser.add_argument("--per-category", type=int, default=115, help="half as many without a picture")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    rng = rng_of(options.split, f"held out {options.seed}")
    atlas, world = load(options.atlas), World(load_kinds())
    renderer = Renderer(atlas, "cpu", 0)
    held_out = make(world, atlas, renderer, options.pictures, options.clips, options.per_category, rng)
    names = write_pictures(held_out, atlas, renderer, options.out / "images", rng)
    write_questions(held_out, names, options.out)
    lines, faults = report(held_out)
    print("\n".join(lines))
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    print(f"{options.out}: {size / 2**20:.2f} MiB")
    if faults:
        sys.exit("unbalanced: " + "; ".join(faults))


if __name__ == "__main__":
    main()
