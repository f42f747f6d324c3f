#!/usr/bin/env python3
"""Renders the README's pictures of the viewer, with the bundled model and samples.

usage: screenshots.py FOVEA_GUI FOLDER            the README's, into FOLDER (assets/screenshots)
       screenshots.py FOVEA_GUI FOLDER --critical  states and sizes that are easily ugly
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[2] / "assets" / "samples"


def load_samples():
    lines = (SAMPLES / "samples.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def longest(samples):
    return max(samples, key=lambda item: len(item["answer"]))


def short_about(samples, image, place):
    """One of the questions about a picture that have an answer of few words."""
    few = [item for item in samples
           if item["image"] == image and item["answer"].count(" ") <= 2]
    return few[min(place, len(few) - 1)]


def where(samples, image):
    """A question about a place: its answer is short, and what was looked at is in one spot."""
    return next(item for item in samples
                if item["image"] == image and item["question"].startswith("Where"))


def readme_views(samples):
    first = longest(samples)["image"]
    others = [item["image"] for item in samples if item["image"] != first]
    second = others[0] if others else first
    open_first, open_second = f"open {SAMPLES / first}", f"open {SAMPLES / second}"
    return {
        # Where one word of an answer looked.
        "viewer-ask": ["size 1366 768", "appearance light", open_first,
                       f"ask {short_about(samples, first, 0)['question']}",
                       f"ask {where(samples, first)['question']}", "word 0", "panel layers"],
        # One answer without and with pruning.
        "viewer-compare": ["size 1366 768", "appearance light", open_second,
                           "prune fastv 144", "compare on unpruned",
                           f"ask {short_about(samples, second, 1)['question']}", "lens kept",
                           "stage 1", "panel pruning"],
        # What a small model said first, and which patches it left to the large one.
        "viewer-guide": ["size 1366 768", "appearance light", open_first, "prune sgl",
                         "compare on guide", f"ask {where(samples, first)['question']}",
                         "panel pruning"],
        # The vision tower by itself.
        "viewer-tower": ["size 1366 768", "appearance dark", open_first, "panel encoder",
                         "encoder rollout", f"ask {short_about(samples, first, 0)['question']}"],
        # Patches chosen by hand.
        "viewer-by-hand": ["size 1366 768", "appearance light", open_first,
                           f"ask {short_about(samples, first, 0)['question']}", "panel pruning",
                           "painting on", "paint 14 1 20 6", "paint 6 17 14 23"],
    }


def critical_views(samples, folder):
    told = longest(samples)
    image = SAMPLES / told["image"]
    ask = f"ask {told['question']}"
    write_pictures(folder)
    sizes = {"laptop": "1366 768", "small": "1000 640", "uhd": "3840 2160"}
    views = {f"size-{name}": [f"size {size}", f"open {image}", ask, "word 3"]
             for name, size in sizes.items()}
    views |= {
        "start": ["size 1366 768", f"open {image}"],
        "dark": ["size 1366 768", "appearance dark", f"open {image}", ask],
        "empty-panels": ["size 1366 768", f"open {image}", "panel patch"],
        "tiny": ["size 1366 768", f"open {folder / 'pictures' / 'tiny.png'}", ask],
        "huge": ["size 1366 768", f"open {folder / 'pictures' / 'huge.png'}", ask],
        "wide": ["size 1366 768", f"open {folder / 'pictures' / 'wide.png'}", ask],
        "damaged": ["size 1366 768", f"open {folder / 'pictures' / 'damaged.png'}"],
        "compare-small": ["size 1000 640", f"open {image}", "prune fastv 100", "compare on", ask,
                          "lens kept"],
        "debias": ["size 1366 768", f"open {image}", "prune fastv 144", "debias 1.2",
                   "compare on biased", ask, "lens kept", "panel pruning"],
        "painted": ["size 1366 768", f"open {image}", ask, "painting on", "paint 4 4 15 15",
                    "compare on", "ask_painted", "lens kept", "panel pruning"],
        "patch": ["size 1366 768", f"open {image}", ask, "patch 16 5", "panel patch"],
        "tower": ["size 1366 768", f"open {image}", "panel encoder", "encoder received 3"],
        "colors": ["size 1366 768", f"open {image}", ask, "panel colors", "colors viridis",
                   "range own", "smooth off"],
        "many": ["size 1366 768", f"open {image}"] + 6 * [ask] + ["follow on", ask],
        "guide": ["size 1000 640", f"open {image}", "prune sgl", "exit score 0.5", "compare on", ask,
                  "panel pruning"],
        "tome": ["size 1366 768", f"open {image}", "tower tome 0.4", ask, "lens kept",
                 "panel pruning"],
        "keys": ["size 1366 768", f"open {image}", "keys"],
        "model": ["size 1366 768", f"open {image}", "choose_model"],
    }
    return views


def write_pictures(folder):
    """Tiny, huge, very wide and damaged, as uncompressed bitmaps that need no library."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)

    def bitmap(name, width, height):
        row = bytes(channel for x in range(width)
                    for channel in (40 + 180 * x // width, 90, 200 - 150 * x // width))
        row += bytes(-len(row) % 4)
        size = 54 + len(row) * height
        header = b"BM" + size.to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
        header += (40).to_bytes(4, "little") + width.to_bytes(4, "little")
        header += height.to_bytes(4, "little") + (1).to_bytes(2, "little")
        header += (24).to_bytes(2, "little") + bytes(24)
        (pictures / name).write_bytes(header + row * height)

    bitmap("tiny.png", 3, 2)
    bitmap("huge.png", 8000, 6000)
    bitmap("wide.png", 3000, 60)
    (pictures / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")


def main():
    if len(sys.argv) not in (3, 4) or (len(sys.argv) == 4 and sys.argv[3] != "--critical"):
        sys.exit(__doc__)
    program, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    samples = load_samples()
    views = critical_views(samples, folder) if len(sys.argv) == 4 else readme_views(samples)
    for name, script in views.items():
        with tempfile.NamedTemporaryFile("w", suffix=".script") as file:
            file.write("\n".join([*script, f"shot {name}"]) + "\n")
            file.flush()
            subprocess.run([program, "--screenshot", str(folder), "--script", file.name], check=True)
        print(folder / f"{name}.png")


if __name__ == "__main__":
    main()
