"""Compares Fovea with transformers on a LLaVA-1.5 checkpoint, token by token and logit by logit.

    parity.py MODEL_DIR [IMAGE] [QUESTION]    a checkpoint of your own
    parity.py --random [--count N] [--seed S] fresh random checkpoints in every layout

Fovea answers greedily in float32 and writes the logits of every step. transformers then reads the
very ids Fovea used (prompt and answer) in one float32 pass with eager attention, without a cache,
and every row of logits is compared. Because the reference follows Fovea's own text, one token won
by rounding does not hide what comes after it. The picture is decoded once, by Pillow, and handed to
both sides as PNG: JPEG decoders differ by a grey level here and there.

Checks, each of which fails the run:
  logits   ||fovea - transformers|| / ||transformers|| at most 1e-3 in every row
  tokens   Fovea's token is the reference's most likely one wherever that leads by more than 1e-3
  ids      the prompt's ids are SentencePiece's on each stretch of text around <image>
Exit status: 0 all equal, 1 something differs, 2 wrong usage or something could not run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
LOGIT_TOLERANCE = 1e-3
ROUNDING_MARGIN = 1e-3
DEFAULT_PICTURE = ROOT / "tests/golden/llava/pictures/wide.png"
DEFAULT_QUESTION = "What is shown in this picture?"


class CannotRun(Exception):
    """Something other than a mismatch: a missing program, an unreadable file."""


def ask_fovea(fovea, model, pictures, prompt, steps, scratch, options=()):
    """Fovea's JSON answer and its logits [steps, vocabulary]."""
    logits = Path(scratch) / "logits.npy"
    command = [fovea, "ask", "--model", str(model), "--device", "cpu", "--dtype", "f32"]
    for index, picture in enumerate(pictures):
        file = Path(scratch) / f"picture-{index}.png"
        picture.save(file)
        command += ["--image", str(file)]
    command += ["--raw-prompt", prompt, "--max-new-tokens", str(steps), "--temperature", "0"]
    command += ["--json", "--dump-logits", str(logits), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise CannotRun(f"{' '.join(command)}\nexited with {done.returncode}:\n{done.stderr.strip()}")
    return json.loads(done.stdout), numpy.load(logits)


def sentencepiece_ids(model, prompt, image_token, tokens_per_picture):
    """What the ids must be, or None when this Python has no sentencepiece."""
    try:
        import sentencepiece
    except ImportError:
        return None
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(Path(model) / "tokenizer.model"))
    ids = [tokenizer.bos_id()]
    for index, chunk in enumerate(prompt.split("<image>")):
        ids += [image_token] * tokens_per_picture if index else []
        ids += tokenizer.encode(chunk)
    return ids


class Comparison:
    """One prompt, answered by both."""

    def __init__(self, reference, model, pictures, prompt, answer, logits):
        prompt_ids, self.token_ids = answer["prompt_token_ids"], answer["token_ids"]
        image_token = reference.image_token
        pixels = reference.pixel_values(pictures) if pictures else None

        per_picture = prompt_ids.count(image_token) // len(pictures) if pictures else 0
        wanted_ids = sentencepiece_ids(model, prompt, image_token, per_picture)
        self.ids_equal = None if wanted_ids is None else wanted_ids == prompt_ids

        rows = len(self.token_ids)
        if rows == 0 or logits.shape != (rows, reference.vocabulary):
            raise CannotRun(f"--dump-logits has shape {logits.shape} for {rows} tokens")
        expected = reference.logits(prompt_ids + self.token_ids[:-1], pixels, rows).numpy()
        self.errors = numpy.linalg.norm(logits - expected, axis=1) / numpy.linalg.norm(expected, axis=1)
        self.expected_ids = expected.argmax(axis=1).tolist()
        best = numpy.sort(expected, axis=1)[:, -2:]
        self.margins = best[:, 1] - best[:, 0]
        self.text = answer["answer"]

    def wrong_rows(self):
        """Rows whose token differs although the reference is sure of its own."""
        pairs = zip(self.token_ids, self.expected_ids, self.margins)
        return [t for t, (found, wanted, margin) in enumerate(pairs) if found != wanted and margin > ROUNDING_MARGIN]

    def passed(self):
        # Written so that a NaN fails.
        return bool((self.errors <= LOGIT_TOLERANCE).all()) and not self.wrong_rows() and self.ids_equal is not False

    def verdict(self):
        return "equal" if self.passed() else "DIFFERENT"

    def print_table(self):
        print(f"{'row':>4} {'fovea':>8} {'reference':>10} {'margin':>9} {'rel. error':>11}")
        wrong = self.wrong_rows()
        for t, (found, wanted, margin, error) in enumerate(
            zip(self.token_ids, self.expected_ids, self.margins, self.errors)
        ):
            note = ""
            if t in wrong:
                note = "  another token"
            elif found != wanted:
                note = "  a tie within rounding"
            if not error <= LOGIT_TOLERANCE:
                note += "  logits differ"
            print(f"{t:>4} {found:>8} {wanted:>10} {margin:>9.4f} {error:>11.2e}{note}")
        ids = {None: "not checked (no sentencepiece in this Python)", True: "equal", False: "DIFFERENT"}
        print(f"prompt ids against SentencePiece: {ids[self.ids_equal]}")
        print(f"worst relative error {self.errors.max():.2e} over {len(self.errors)} rows")


def check_model(fovea, model, picture_file, question, steps):
    """A user's checkpoint with one picture. Returns whether both sides agree."""
    if not (Path(model) / "config.json").is_file():
        raise CannotRun(f"{model} is no model folder: it has no config.json")
    try:
        picture = ImageOps.exif_transpose(Image.open(picture_file)).convert("RGB")
    except OSError as error:
        raise CannotRun(f"{picture_file} cannot be read as a picture: {error}") from None
    prompt = f"USER: <image>\n{question} ASSISTANT:"
    with tempfile.TemporaryDirectory() as scratch:
        started = time.monotonic()
        answer, logits = ask_fovea(fovea, model, [picture], prompt, steps, scratch)
        print(f"fovea answered in {time.monotonic() - started:.1f} s: {answer['answer']!r}")
    from reference import Reference  # after Fovea has run, so that two models never share memory

    started = time.monotonic()
    comparison = Comparison(Reference(model), model, [picture], prompt, answer, logits)
    print(f"transformers read the same ids in {time.monotonic() - started:.1f} s, loading included")
    comparison.print_table()
    print(f"{comparison.verdict()}: {model}")
    return comparison.passed()


def check_random(fovea, count, seed, steps, keep):
    """Random checkpoints, each with one picture, two and none. Returns whether all agree."""
    import torch
    from random_llava import random_picture, random_recipes, train_tokenizer, write_checkpoint
    from reference import Reference

    torch.set_num_threads(min(4, os.cpu_count() or 1))
    pictures = [random_picture(seed, 90, 64), random_picture(seed + 1, 40, 52)]
    cases = {
        "one picture": ("USER: <image>\nwhat is in the picture? ASSISTANT:", pictures[:1]),
        "two pictures": ("USER: <image>\nfirst, <image> second. where is the cat? ASSISTANT:", pictures),
        "no picture": ("the cat sat on the", []),
    }
    tokenizer = train_tokenizer()
    agreed = worst = 0
    print(f"{count} random checkpoints from seed {seed}, {steps} tokens each")
    for recipe in random_recipes(seed, count):
        with tempfile.TemporaryDirectory() as scratch:
            folder = (Path(keep) if keep else Path(scratch)) / recipe.name
            write_checkpoint(recipe, folder, tokenizer)
            reference = Reference(folder)
            print(f"{recipe.name}: {recipe.describe()}")
            passed = True
            for case, (prompt, shown) in cases.items():
                answer, logits = ask_fovea(fovea, folder, shown, prompt, steps, scratch)
                comparison = Comparison(reference, folder, shown, prompt, answer, logits)
                error = comparison.errors.max()
                worst = max(worst, error)
                print(f"  {case:<13} {len(comparison.errors)} rows, worst {error:.1e}  {comparison.verdict()}")
                if not comparison.passed():
                    passed = False
                    comparison.print_table()
            agreed += passed
    print(f"{agreed} of {count} checkpoints equal transformers; worst relative error {worst:.2e}")
    return agreed == count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="folder of a LLaVA-1.5 checkpoint (needs tokenizer.model)")
    parser.add_argument("image", nargs="?", default=str(DEFAULT_PICTURE))
    parser.add_argument("question", nargs="?", default=DEFAULT_QUESTION)
    parser.add_argument("--random", action="store_true", help="make random checkpoints and check them")
    parser.add_argument("--count", type=int, default=12, help="how many (default 12)")
    parser.add_argument("--seed", type=int, help="of the random checkpoints (default: the clock)")
    parser.add_argument("--keep", metavar="DIR", help="leave the random checkpoints there")
    parser.add_argument("--steps", type=int, default=17, help="tokens to compare (default: 16 after the first)")
    parser.add_argument("--fovea", default=os.environ.get("FOVEA", str(ROOT / "build/release/fovea")))
    arguments = parser.parse_args()
    if arguments.random == (arguments.model is not None):
        parser.error("give either a model folder or --random")
    if arguments.steps < 1 or arguments.count < 1:
        parser.error("--steps and --count must be at least 1")
    if not os.access(arguments.fovea, os.X_OK):
        parser.error(f"{arguments.fovea} is no program: build Fovea first (bash app/quickstart.sh) or set FOVEA")
    try:
        if arguments.random:
            seed = arguments.seed if arguments.seed is not None else int(time.time())
            agreed = check_random(arguments.fovea, arguments.count, seed, arguments.steps, arguments.keep)
        else:
            agreed = check_model(
                arguments.fovea, arguments.model, arguments.image, arguments.question, arguments.steps
            )
    except CannotRun as error:
        print(f"parity: {error}", file=sys.stderr)
        return 2
    return 0 if agreed else 1


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything needed is in the model folder
    sys.exit(main())
