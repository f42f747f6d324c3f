"""Promises of Emoji World's pictures, evidence and held-out sets.

    python3 tests/recipes/drawing_test.py     (needs torch, numpy, Pillow and the fonts that the recipe names)
"""

import json
import sys
import tempfile
import unittest
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "assets/recipes"))
from emoji_world import make_eval  # noqa: E402
from emoji_world.atlas import FONTS, FONT_FOLDER, SIGN_STYLES, build, draw_sign, save  # noqa: E402
from emoji_world.heldout import EVIDENT_PIXELS, Evidence  # noqa: E402
from emoji_world.questions import Question  # noqa: E402
from emoji_world.render import GRID, PADDING, Renderer, scene_rows  # noqa: E402
from emoji_world.vocabulary import CAP_HEIGHT, load_kinds, smallest_sign  # noqa: E402
from emoji_world.world import SIDE, Clip, Scene, Thing, World  # noqa: E402

torch.set_num_threads(1)
ATLAS = build()
KINDS = load_kinds()
RENDERER = Renderer(ATLAS, "cpu", 1)


def cells_of(image):
    """[cells, pixels] of a 336 px picture."""
    return image.mean(0).unfold(0, 14, 14).unfold(1, 14, 14).reshape(GRID * GRID, -1)


class Signs(unittest.TestCase):
    def test_capitals_are_twenty_four_pixels_high_at_the_smallest_size(self):
        for text in ("HOT", "EXIT", "12"):
            for font in FONTS:
                board, ink = SIGN_STYLES[0]
                tile = draw_sign(text, FONT_FOLDER / font, board, ink)
                if tile is None:  # too wide a font for this text
                    continue
                side = smallest_sign(text)
                small = np.asarray(tile.resize((side, side), Image.LANCZOS)).astype(int)
                board_at = small[..., 3] > 200
                dark = board_at & (small[..., :3].sum(-1) < 330)
                edge = dark.sum(1) > 0.8 * board_at.sum(1)  # rows of the board's outline
                middle = dark[:, side * 3 // 10:side * 7 // 10]
                rows = np.flatnonzero(middle.any(1) & ~edge)
                self.assertGreaterEqual(rows[-1] - rows[0] + 1, CAP_HEIGHT - 1, (text, font))

    def test_every_kind_has_tiles_and_every_sign_several(self):
        tiles = np.diff(ATLAS.first)
        self.assertEqual(len(tiles), len(KINDS))
        for kind, number in zip(KINDS, tiles):
            self.assertTrue(number >= 2 if kind.text else number == 1)


class Evidences(unittest.TestCase):
    def test_without_its_things_a_picture_changes_in_the_evidence_cells_alone(self):
        rng, world = Random(2), World(KINDS)
        for _ in range(25):
            scene = world.scene(rng)
            chosen = rng.randrange(len(scene.things))
            question = Question("at", "", "", (), ((0, chosen),))
            evidence = set(Evidence([scene], ATLAS, RENDERER).of(0, question))
            rows = scene_rows(scene, ATLAS.first)
            background = RENDERER.backgrounds(1, int(SIDE))
            whole = RENDERER.draw(rows[None], background, int(SIDE))[0][0]
            rows[chosen, 2] = -1
            less = RENDERER.draw(rows[None], background, int(SIDE))[0][0]
            changed = (cells_of((whole - less).abs()) > 0.1).sum(1)
            found = set(np.flatnonzero(changed.numpy() >= EVIDENT_PIXELS).tolist())
            self.assertLessEqual(found, evidence)
            self.assertLess(len(evidence), 4 + 3 * max(1, len(found)))

    def test_frames_count_on_from_576_and_ids_ascend(self):
        scene = Scene("16:9", (Thing(20, 20, 28, 0), Thing(300, 150, 40, 1)))
        clip = Clip((scene, scene), (), None)
        question = Question("motion", "", "", (), ((0, 0), (1, 1)))
        found = Evidence([clip], ATLAS, RENDERER).of(0, question)
        self.assertEqual(list(found), sorted(found))
        low, high = [c for c in found if c < 576], [c - 576 for c in found if c >= 576]
        # The picture begins at (336 - 189) / 2 = 73.5 px: the first thing spans rows 79.5 to 107.5 of the square.
        self.assertEqual((min(low) // 24, max(low) // 24, min(low) % 24, max(c % 24 for c in low)), (5, 7, 0, 2))
        self.assertEqual({cell % 24 for cell in high} - set(range(20, 24)), set())
        self.assertTrue(high)

    def test_the_cells_of_a_square_shape_are_those_of_its_edges(self):
        square = next(i for i, kind in enumerate(KINDS) if kind.name == "red square")
        # A square fills its tile but for 36 of 512 parts on each side: 70 px of it span 163.1 to 222.9 here.
        question = Question("at", "", "", (), ((0, 0),))
        scene = Scene("1:1", (Thing(193.0, 193.0, 70.0, square),))
        found = Evidence([scene], ATLAS, RENDERER).of(0, question)
        expected = [row * GRID + column for row in range(11, 16) for column in range(11, 16)]
        self.assertEqual(list(found), expected)


class Padding(unittest.TestCase):
    def test_padding_is_what_the_processor_of_the_model_makes(self):
        from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

        processor = LlavaImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336},
                                           do_pad=True, do_rescale=True, do_normalize=False)
        for aspect in ("16:9", "3:4"):
            scene = Scene(aspect, ())
            width, height = round(scene.width), round(scene.height)
            plain = np.full((height, width, 3), 200, np.uint8)
            wanted = torch.tensor(processor(Image.fromarray(plain), return_tensors="np")["pixel_values"][0])
            drawn = RENDERER.pad(torch.full((1, 3, 336, 336), 200 / 255), torch.tensor([[scene.width, scene.height]]))
            differs = (drawn[0] - wanted).abs().amax(0) > 1e-3
            lines = differs.any(0).sum() if aspect == "3:4" else differs.any(1).sum()
            self.assertLessEqual(int(lines), 2)  # a border that lies within a pixel
        self.assertEqual(PADDING, (122 / 255, 116 / 255, 104 / 255))


class HeldOutSets(unittest.TestCase):
    def write(self, folder, *more):
        save(ATLAS, folder / "atlas.npz")
        argv = sys.argv
        sys.argv = ["make_eval", "--atlas", str(folder / "atlas.npz"), "--split", "development", "--out",
                    str(folder / "set"), "--pictures", "60", "--clips", "8", "--per-category", "40", *more]
        try:
            make_eval.main()
        except SystemExit as exit:  # so small a set may be unbalanced
            self.assertIn("unbalanced", str(exit))
        finally:
            sys.argv = argv
        return {str(f.relative_to(folder)): f.read_bytes() for f in sorted((folder / "set").rglob("*")) if f.is_file()}

    def test_two_runs_write_the_same_bytes_and_another_seed_others(self):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            first, second = self.write(Path(one)), self.write(Path(two))
            self.assertEqual(first.keys(), second.keys())
            self.assertTrue(all(first[name] == second[name] for name in first))
            self.check(first)
        with tempfile.TemporaryDirectory() as three:
            other = self.write(Path(three), "--seed", "2")
            self.assertNotEqual(first["set/questions.jsonl"], other["set/questions.jsonl"])

    def check(self, files):
        questions = [json.loads(line) for line in files["set/questions.jsonl"].splitlines()]
        labels = [json.loads(line) for line in files["set/questions-labels.jsonl"].splitlines()]
        self.assertEqual([q["question_id"] for q in questions], [label["question_id"] for label in labels])
        kinds = set()
        for question, label in zip(questions, labels):
            image = question.get("image", [])
            kinds.add(type(image) if "image" in question else None)
            images = image if isinstance(image, list) else [image]
            self.assertTrue(all(f"set/images/{name}" in files for name in images))
            evidence = question["evidence"]
            self.assertEqual(evidence, sorted(set(evidence)))
            self.assertTrue(all(0 <= cell < 576 * len(images) for cell in evidence))
            self.assertEqual("things" in label, question["category"] == "describe")
        self.assertEqual(kinds, {str, list, None})


if __name__ == "__main__":
    unittest.main()
