"""Promises of Emoji World's training: rows hold what prompts hold, losses fall, runs resume, transformers agrees.

    python3 tests/recipes/training_test.py     (needs assets/recipes/requirements.txt and the fonts)
"""

import json
import sys
import tempfile
import unittest
from pathlib import Path
from random import Random

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "assets/recipes"))
import tokenizer as shared_tokenizer  # noqa: E402
from emoji_world import train  # noqa: E402
from emoji_world.atlas import build, save  # noqa: E402
from emoji_world.batches import SLOTS, BatchMaker  # noqa: E402
from emoji_world.model import ALONE, COMMON, UNUSED, Llava  # noqa: E402
from emoji_world.render import Renderer  # noqa: E402
from emoji_world.team import Team  # noqa: E402
from emoji_world.tokenizer import Tokenizer, training_text  # noqa: E402
from export import write_processor, write_weights  # noqa: E402
from model import GRID, SIZES, Size  # noqa: E402
from weights import save_weights  # noqa: E402

torch.set_num_threads(1)
TINY = Size(vision_width=48, vision_mlp=64, vision_blocks=3, vision_heads=3, width=64, mlp=96, layers=2, heads=4,
            kv_heads=2)
FOLDER = tempfile.TemporaryDirectory()
ATLAS_FILE, TOKENIZER_FILE = Path(FOLDER.name) / "atlas.npz", Path(FOLDER.name) / "tokenizer.model"
ATLAS = build()
save(ATLAS, ATLAS_FILE)
shared_tokenizer.train(training_text(), TOKENIZER_FILE)
TOKENIZER = Tokenizer(TOKENIZER_FILE)
KINDS = len(ATLAS.first) - 1


def tiny_model():
    torch.manual_seed(1)
    return Llava(TINY, TOKENIZER.vocab, TOKENIZER.prefix, TOKENIZER.between, KINDS + 1).eval()


def prompt_of(inputs, row, upto, scene, conversation):
    """The ids before and with text token `upto` of a row's conversation, pictures as -1, and those pictures."""
    if scene >= ALONE:
        ids, pixels = [], None
    else:
        slots = (inputs["slot_scene"][row] == scene).nonzero().flatten().tolist()
        count = inputs["slot_scene"].shape[1]
        pixels = inputs["pixels"].unflatten(0, (-1, count))[row, slots]
        ids = list(TOKENIZER.prefix)
        for number in range(len(slots)):
            ids += (TOKENIZER.between if number else []) + [-1] * GRID * GRID
    same = (inputs["conversation"][row, : upto + 1] == conversation).nonzero().flatten()
    return ids + inputs["ids"][row, same].tolist(), pixels


class Rows(unittest.TestCase):
    def test_a_row_says_what_its_conversations_say_as_prompts_of_their_own(self):
        model = tiny_model()
        for kind in SLOTS:
            batch = BatchMaker(TOKENIZER, ATLAS, kind).make(2, Random(f"rows {kind}"))
            inputs = train.prepare(batch, Renderer(ATLAS, "cpu", 1), 336)
            with torch.inference_mode():
                packed, _ = model(inputs.get("pixels"), *(inputs[name] for name in train.INPUTS))
            for row in range(2):
                for answer in np.flatnonzero(batch.weights[row] > 0)[::5]:
                    place = batch.places[row, answer]
                    scene, conversation = batch.scene[row, place], batch.conversation[row, place]
                    ids, pixels = prompt_of(inputs, row, place, scene, conversation)
                    alone = self.run_alone(model, ids, pixels)
                    self.assertLess((alone - packed[row, answer]).abs().max().item(), 2e-4)

    def run_alone(self, model, ids, pixels):
        """The plain decoder over one prompt, with positions from 0 and a causal mask alone."""
        decoder = model.language_model["model"]
        x = decoder.embed_tokens(torch.tensor([max(i, 0) for i in ids]))
        with torch.inference_mode():
            if pixels is not None:
                features = model.vision_tower["vision_model"](pixels)
                hidden = torch.nn.functional.gelu(model.multi_modal_projector["linear_1"](features))
                visual = model.multi_modal_projector["linear_2"](hidden).flatten(0, 1)
                x = x.clone()
                x[torch.tensor(ids) < 0] = visual
            from model import rotation_of
            rotation = rotation_of(torch.arange(len(ids))[None], TINY.width // TINY.heads)
            mask = torch.full((len(ids), len(ids)), float("-inf")).triu(1)[None, None]
            x = x[None]
            for layer in decoder.layers:
                x = layer(x, rotation, mask)
            return decoder.norm(x[0, -1]) @ decoder.embed_tokens.weight.T

    def test_rows_are_as_long_as_fast_attention_wants(self):
        for kind, slots in SLOTS.items():
            maker = BatchMaker(TOKENIZER, ATLAS, kind)
            extra = len(TOKENIZER.prefix) + (slots - 1) * len(TOKENIZER.between) if slots else 0
            self.assertEqual((extra + maker.text) % 8, 0)

    def test_unused_places_belong_to_nobody_and_clips_keep_their_length(self):
        batch = BatchMaker(TOKENIZER, ATLAS, "clips").make(20, Random(2))
        self.assertTrue(((batch.scene == UNUSED) == (batch.conversation == COMMON)).all())
        for row in range(20):
            lengths = [int((batch.slot_scene[row] == clip).sum()) for clip in set(batch.slot_scene[row]) - {UNUSED}]
            self.assertTrue(all(2 <= length <= 8 for length in lengths))


class Learning(unittest.TestCase):
    def test_the_loss_on_a_batch_learned_by_heart_falls(self):
        model = tiny_model().train()
        learner = train.Learner("guide", model, model, train.optimiser_of(model), Team("cpu"),
                                train.LEARNING_RATES["guide"], sparse=False)
        renderer = Renderer(ATLAS, "cpu", 1)
        for kind in SLOTS:
            inputs = train.prepare(BatchMaker(TOKENIZER, ATLAS, kind).make(2, Random(3)), renderer, 168)
            losses = [learner.step(kind, inputs, 0.0, 1.0)["answer"].item() for _ in range(40)]
            self.assertLess(losses[-1], 0.5 * losses[0], kind)

    def options(self, out, *more):
        argv = sys.argv
        sys.argv = ["train", "--atlas", str(ATLAS_FILE), "--tokenizer", str(TOKENIZER_FILE), "--out", str(out),
                    "--no-compile", "--workers", "1", "--low-batch", "1", "--low-clips", "1", "--high-batch", "1",
                    "--high-clips", "1", "--check-batches", "1", "--blind-batch", "2", *more]
        try:
            return train.options_of()
        finally:
            sys.argv = argv

    def test_a_run_goes_on_where_it_stopped_with_its_state_or_with_its_weights(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            part = ("--models", "guide", "--low-minutes", "60", "--high-minutes", "60", "--most-steps", "2")
            for done in (2, 4, 6):
                train.run(self.options(out, *part))
                self.assertEqual(json.loads((out / "progress.json").read_text())["steps"], [done, 0])
                if done == 4:
                    (out / "state.pt").unlink()

    def test_the_blind_control_trains_without_pictures(self):
        with tempfile.TemporaryDirectory() as folder:
            train.run(self.options(Path(folder), "--blind", "--blind-minutes", "0.02"))
            self.assertTrue((Path(folder) / "base-0.safetensors").exists())


class Export(unittest.TestCase):
    def test_transformers_computes_what_was_trained(self):
        from PIL import Image
        from transformers import AutoProcessor, LlavaForConditionalGeneration

        torch.manual_seed(2)
        model = Llava(SIZES["guide"], TOKENIZER.vocab, TOKENIZER.prefix, TOKENIZER.between, KINDS + 1).half().float()
        model.eval()
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            save_weights(model, "guide", out)
            write_weights("guide", TOKENIZER, out, out, context=6144)
            write_processor(TOKENIZER_FILE, out, context=6144, pad=True)
            processor = AutoProcessor.from_pretrained(out, backend="pil")
            theirs = LlavaForConditionalGeneration.from_pretrained(out, dtype=torch.float32).eval()
        self.assertTrue(processor.image_processor.do_pad)
        pictures = [Image.fromarray(np.full((90, 160, 3), shade, np.uint8)) for shade in (40, 200)]
        content = [{"type": "image"}] * 2 + [{"type": "text", "text": "What appeared?"}]
        prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = processor(images=pictures, text=prompt, return_tensors="pt")
        turn = TOKENIZER.turn("What appeared?", True)
        picture = [TOKENIZER.image] * GRID * GRID
        ids = TOKENIZER.prefix + picture + TOKENIZER.between + picture + turn
        self.assertEqual(inputs["input_ids"][0].tolist(), ids)
        start = len(TOKENIZER.prefix)
        step = GRID * GRID + len(TOKENIZER.between)
        with torch.inference_mode():
            wanted = theirs(**inputs).logits[0, -1]
            text = torch.tensor([turn])
            zero = torch.zeros_like(text)
            ours, _ = model(inputs["pixel_values"], torch.tensor([[start, start + step]]), zero[:, :2], text,
                            torch.arange(len(turn))[None] + start + 2 * step - len(TOKENIZER.between), zero, zero + 1,
                            torch.tensor([[len(turn) - 1]]))
        self.assertLess((ours[0, 0] - wanted).abs().max().item(), 1e-3)

    def test_a_first_turn_without_a_picture_is_encoded_like_the_whole_prompt(self):
        question = "Is the yellow diamond a vehicle?"
        whole = TOKENIZER.encode(f"USER: {question} ASSISTANT:")
        self.assertEqual(TOKENIZER.alone(question), [shared_tokenizer.BOS, *whole])


if __name__ == "__main__":
    unittest.main()
