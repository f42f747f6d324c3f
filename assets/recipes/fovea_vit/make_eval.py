"""Draw held-out pictures and say what they show, from seeds that training never uses.

    python -m fovea_vit.make_eval --out ../eval_vit
    python -m fovea_vit.make_eval --split calibration --count 128 --out ../../build/fovea_vit/calibration

Writes images/NNN.jpg and labels.csv with the columns path, label and clutter, as `fovea classify --labels` reads it.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import atlas
from fovea_vit import MADE
from fovea_vit.render import Renderer
from fovea_vit.scenes import MOST_CLUTTER, SceneMaker, labels, rng_of

QUALITY = 85  # of JPEG: 300 pictures take 3 MB, and noise that no label depends on is most of it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atlas", type=Path, default=MADE / "atlas.npz", help="written by ../atlas.py")
    parser.add_argument("--out", type=Path, default=MADE / "eval")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--split", choices=["held-out", "calibration"], default="held-out")
    options = parser.parse_args()
    tiles, names = atlas.load(options.atlas), labels()
    maker, renderer = SceneMaker(tiles.first), Renderer(tiles.tiles, "cpu")
    (options.out / "images").mkdir(parents=True, exist_ok=True)
    with open(options.out / "labels.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "clutter"])
        for index in range(options.count):
            rng = rng_of(options.split, index)
            scene = maker.make(rng, clutter=index % (MOST_CLUTTER + 1))  # every amount of clutter as often
            generator = torch.Generator().manual_seed(rng.getrandbits(60))
            image, _ = renderer.draw(scene.rows[None], generator)
            pixels = (image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
            path = f"images/{index:03}.jpg"
            Image.fromarray(pixels).save(options.out / path, quality=QUALITY, subsampling=0)
            table.writerow([path, names[scene.label], scene.clutter])
    print(f"{options.out}: {options.count} pictures")


if __name__ == "__main__":
    main()
