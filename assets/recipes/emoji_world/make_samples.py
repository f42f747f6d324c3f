"""Compose the sample pictures: things placed by hand before drawn backgrounds, with questions.

    python -m emoji_world.make_samples --out ../samples
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from emoji_world import MADE
from emoji_world.atlas import load
from emoji_world.make_eval import paint
from emoji_world.render import Renderer
from emoji_world.vocabulary import load_kinds
from emoji_world.world import Scene, Thing

DRAWN_AT = 768  # pixels of the longer side


@dataclass(frozen=True)
class Sample:
    """`things`: (name or sign text, x, y, size) in the picture, whose longer side is 336. `seed` of the background."""

    name: str
    aspect: str
    seed: int
    things: tuple
    questions: tuple


SAMPLES = (
    Sample("park", "4:3", 19, (
        ("sun", 42, 42, 62), ("PARK", 168, 46, 118), ("tree", 286, 104, 104), ("dog", 54, 204, 82),
        ("soccer ball", 166, 216, 44), ("bicycle", 274, 208, 88),
    ), (
        ("What is at the bottom left?", "A dog"), ("What does the sign say?", "PARK"),
        ("Where is the bicycle?", "Bottom right"), ("Is the dog to the left of the tree?", "Yes"),
        ("How many things are there?", "6"),
        ("Describe the picture.",
         "The picture shows a sun, a tree, a dog, a soccer ball and a bicycle. The sign says PARK."),
    )),
    Sample("harbour", "16:9", 9, (
        ("sailboat", 58, 84, 96), ("ship", 276, 114, 98), ("dolphin", 164, 154, 58), ("anchor", 40, 164, 38),
        ("cloud", 164, 34, 56), ("24", 284, 32, 72),
    ), (
        ("What is at the middle right?", "A ship"), ("Where is the anchor?", "Bottom left"),
        ("What is written on the sign?", "24"), ("Is the cloud above the dolphin?", "Yes"),
        ("Is there a whale?", "No"),
    )),
    Sample("kitchen", "1:1", 26, (
        ("red apple", 54, 262, 88), ("red apple", 132, 290, 56), ("red apple", 196, 300, 38), ("teapot", 286, 270, 86),
        ("clock", 60, 56, 80), ("TEA", 168, 58, 96), ("birthday cake", 278, 162, 82),
    ), (
        ("How many red apples are there?", "3"), ("What is at the top left?", "A clock"),
        ("Where is the birthday cake?", "Middle right"), ("What does the sign say?", "TEA"),
        ("Is there a spoon?", "No"),
    )),
    Sample("space", "3:4", 3, (
        ("rocket", 126, 168, 112), ("moon", 44, 50, 70), ("planet", 202, 54, 82), ("flying saucer", 206, 280, 78),
        ("star", 42, 286, 56), ("telescope", 122, 292, 66),
    ), (
        ("What is at the center?", "A rocket"), ("Where is the planet?", "Top right"),
        ("Is the flying saucer below the planet?", "Yes"), ("How many things can you see?", "6"),
    )),
    Sample("shapes", "1:1", 24, (
        ("red circle", 62, 64, 92), ("blue square", 272, 62, 84), ("green triangle", 168, 168, 100),
        ("yellow ring", 58, 270, 86), ("purple diamond", 278, 274, 92), ("orange cross", 168, 288, 62),
    ), (
        ("What color is the triangle?", "Green"), ("What is at the top right?", "A blue square"),
        ("Is the red circle above the yellow ring?", "Yes"), ("Is there a red square?", "No"),
        ("How many things are in the picture?", "6"),
    )),
    Sample("street", "4:3", 6, (
        ("traffic light", 36, 126, 88), ("taxi", 166, 204, 100), ("bus", 280, 124, 92), ("GO", 60, 38, 78),
        ("cat", 50, 214, 60), ("airplane", 272, 40, 70), ("umbrella", 290, 216, 62),
    ), (
        ("What does the sign say?", "GO"), ("What is at the bottom center?", "A taxi"),
        ("Where is the bus?", "Middle right"), ("Is the cat below the traffic light?", "Yes"),
        ("Can you see a truck?", "No"),
    )),
    Sample("jungle", "3:4", 11, (
        ("parrot", 48, 54, 80), ("monkey", 200, 56, 88), ("tiger", 130, 168, 112), ("snake", 46, 286, 72),
        ("mushroom", 126, 302, 44), ("frog", 206, 286, 70), ("palm tree", 36, 166, 60),
    ), (
        ("What is at the top right?", "A monkey"), ("Where is the tiger?", "Center"),
        ("Is the parrot left of the monkey?", "Yes"), ("How many mushrooms are there?", "1"),
        ("Is there a lion in the picture?", "No"),
    )),
)


def scene_of(sample: Sample) -> Scene:
    numbers = {kind.text or kind.name: index for index, kind in enumerate(load_kinds())}
    return Scene(sample.aspect, tuple(Thing(x, y, size, numbers[name]) for name, x, y, size in sample.things))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atlas", type=Path, default=MADE / "atlas.npz")
    parser.add_argument("--out", type=Path, default=Path("../samples"))
    options = parser.parse_args()
    atlas = load(options.atlas)
    renderer = Renderer(atlas, "cpu", 0)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for sample in SAMPLES:
        file = f"{sample.name}.png"
        picture = Image.fromarray(paint((scene_of(sample),), DRAWN_AT, atlas, renderer, sample.seed)[0])
        picture.quantize(256, dither=Image.Dither.NONE).save(options.out / file, optimize=True)
        rows += [{"image": file, "question": q, "answer": a} for q, a in sample.questions]
    (options.out / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
