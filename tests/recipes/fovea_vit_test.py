"""Promises of fovea-vit's recipe: masks mean what pruning does, thresholds feel the budget, runs resume.

    python3 tests/recipes/fovea_vit_test.py     (needs assets/recipes/requirements.txt and the fonts)
"""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch

RECIPES = Path(__file__).resolve().parents[2] / "assets/recipes"
sys.path.insert(0, str(RECIPES))
import atlas  # noqa: E402
from fovea_vit.model import FoveaVit, ScorePredictor, Size  # noqa: E402
from fovea_vit.render import PATCH, Renderer  # noqa: E402
from fovea_vit.scenes import MOST_CLUTTER, SIDE, SceneMaker, labels, rng_of  # noqa: E402

torch.set_num_threads(1)
FOLDER = tempfile.TemporaryDirectory()
ATLAS = atlas.build()
atlas.save(ATLAS, Path(FOLDER.name) / "atlas.npz")
TINY = Size(width=24, heads=3, depth=6, ratio=2, side=48, patch=16, cuts=(3, 5))


def tiny_model(deviation=0.3):
    torch.manual_seed(5)
    model = FoveaVit(TINY, 7).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim:
                parameter.add_(torch.randn_like(parameter) * deviation)
    return model, torch.randn(3, 3, 48, 48, dtype=torch.double)


class Masks(unittest.TestCase):
    def test_thresholds_below_every_score_change_nothing(self):
        model, pixels = tiny_model()
        for predictor in model.score_predictor:
            predictor.keep_threshold.data.fill_(-1)
        plain, masked = model(pixels), model(pixels, masked=True)
        torch.testing.assert_close(masked.logits, plain.logits, rtol=1e-4, atol=1e-4)
        self.assertEqual(masked.flops.tolist(), [TINY.flops()] * 3)

    def test_masked_patches_do_not_reach_the_class_token(self):
        """With everything dropped, the class token is what it is when the patches are removed: up to the 1e-6 of every
        row that the masked softmax leaves to all tokens, beside the largest logit of a dropped one."""
        model, pixels = tiny_model(0.05)
        model.score_predictor[0].keep_threshold.data.fill_(9)
        model.score_predictor[1].keep_threshold.data.fill_(9)
        x = model.patch_embed(pixels)
        x = torch.cat([model.cls_token.expand(3, -1, -1), x], 1) + model.pos_embed
        for index, block in enumerate(model.blocks):
            x = block(x[:, :1] if index == 3 else x)[0]
        torch.testing.assert_close(model(pixels, masked=True).logits, model.head(model.norm(x[:, 0])), rtol=1e-4,
                                   atol=1e-4)

    def test_scores_are_class_attention_weighted_by_heads(self):
        model, pixels = tiny_model()
        attention = model.blocks[0].attn
        x = torch.randn(1, 10, 24, dtype=torch.double)
        _, scores = attention(x, torch.ones(1, 10))
        q, k, v = attention.qkv(x).unflatten(-1, (3, 3, -1)).permute(2, 0, 3, 1, 4)
        p = (q @ k.transpose(-2, -1) * 8 ** -0.5).softmax(-1)
        norms = (p @ v).norm(dim=-1)
        share = norms / norms.sum(1, keepdim=True)
        torch.testing.assert_close(scores.double(), (p[:, :, 0] * share).sum(1)[:, 1:], rtol=1e-4, atol=1e-5)

    def test_a_cut_is_strict_and_thresholds_feel_it(self):
        predictor = ScorePredictor(0.002)
        scores = torch.tensor([[0.0019, predictor.keep_threshold.item(), 0.0021]])
        kept = predictor(scores)
        self.assertEqual(kept.round().tolist(), [[0, 0, 1]])
        kept.sum().backward()
        self.assertLess(predictor.keep_threshold.grad.item(), 0)  # a higher threshold keeps less

    def test_work_is_counted_as_the_paper_counts(self):
        small = Size(width=384, heads=6)
        self.assertAlmostEqual(12 * small.block_flops(197) / 1e9, 4.541, places=3)
        self.assertAlmostEqual(small.flops() / 1e9, 4.598, places=2)

    def test_the_model_is_as_small_as_promised(self):
        self.assertLessEqual(sum(p.numel() for p in FoveaVit(Size(), len(labels())).parameters()), 3_000_000)


class Scenes(unittest.TestCase):
    def test_there_are_enough_labels_and_no_two_alike(self):
        self.assertGreaterEqual(len(labels()), 200)
        self.assertEqual(len(labels()), len(set(labels())))

    def test_the_emoji_is_whole_and_clutter_is_counted(self):
        maker, renderer = SceneMaker(ATLAS.first), Renderer(ATLAS.tiles, "cpu")
        for clutter in (0, MOST_CLUTTER):
            scene = maker.make(rng_of("test", clutter), clutter=clutter)
            self.assertEqual((scene.rows[:-1, 2] > 0).sum(), clutter)
            x, y, half = scene.rows[-1, :3]
            self.assertTrue(half <= min(x, y) and max(x, y) <= SIDE - half)
            image, emoji = renderer.draw(scene.rows[None], torch.Generator().manual_seed(1))
            self.assertEqual(image.shape, (1, 3, SIDE, SIDE))
            for patch in emoji[0].nonzero().flatten().tolist():
                centre = np.array([patch % (SIDE // PATCH), patch // (SIDE // PATCH)]) * PATCH + PATCH / 2
                self.assertLess(np.abs(centre - (x, y)).max(), 1.5 * half)

    def test_splits_draw_different_pictures(self):
        maker = SceneMaker(ATLAS.first)
        rows = [maker.make(rng_of(split, 1, 0)).rows for split in ("weights", "thresholds", "check", "held-out")]
        for i, first in enumerate(rows):
            for second in rows[i + 1:]:
                self.assertFalse(np.array_equal(first, second))


class Training(unittest.TestCase):
    def train(self, out, *options):
        command = [sys.executable, "-B", "-m", "fovea_vit.train", "weights", "--atlas", f"{FOLDER.name}/atlas.npz",
                   "--out", out, "--steps", "3", "--batch", "2", "--check", "1", *options]
        return subprocess.run(command, cwd=RECIPES, capture_output=True, text=True, check=True).stdout

    def test_a_run_that_was_stopped_ends_where_an_uninterrupted_one_ends(self):
        whole, parts = f"{FOLDER.name}/whole", f"{FOLDER.name}/parts"
        self.train(whole)
        self.assertIn("start again", self.train(parts, "--stop-after", "0"))
        self.train(parts)
        first, second = (torch.load(f"{out}/weights.pt", weights_only=True) for out in (whole, parts))
        self.assertTrue(first["done"] and second["done"])
        for name, value in first["model"].items():
            torch.testing.assert_close(second["model"][name], value, rtol=0, atol=1e-6, msg=name)


if __name__ == "__main__":
    unittest.main()
