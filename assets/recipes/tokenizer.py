"""The SentencePiece tokenizer, and conversations turned into token ids exactly as the runtime does it.

    python tokenizer.py --out tokenizer.model
"""

import argparse
from functools import lru_cache
from itertools import chain
from pathlib import Path
from random import Random

import sentencepiece

from questions import CATEGORIES, TEMPLATES, Asker
from vocabulary import SIGN_NUMBERS, SIGN_WORDS, load_kinds, with_article
from world import World

BOS, EOS = 1, 2
PIECES = 1600
GENERAL_TEXT = (
    "USER: ASSISTANT:", "A chat between a curious user and an artificial intelligence assistant.",
    "The assistant gives helpful, detailed, and polite answers to the user's questions.",
    "Answer the question using a single word or phrase.", "Please answer with yes or no.",
)


def training_text(seed: int = 1) -> list[str]:
    """Question and answer lines of the world, every name and sign often enough to become a piece."""
    kinds = load_kinds()
    asker, rng = Asker(World(kinds)), Random(seed)
    lines = list(GENERAL_TEXT) * 200
    for kind in kinds:
        lines += [with_article(kind.name), with_article(kind.name).capitalize(), kind.plural] * 12
    lines += list(SIGN_WORDS) * 20 + list(SIGN_NUMBERS) * 2
    # A question follows a line break without a space: its first word needs pieces of its own.
    lines += [f":{text.split()[0]}" for text in chain(*TEMPLATES.values())] * 40
    for _ in range(12000):
        things = asker.world.scene(rng)
        question = asker.ask(rng.choice((*CATEGORIES, "describe")), things, rng)
        if question:
            lines.append(f"USER: {question.text} ASSISTANT: {question.answer}")
    return lines


def train(lines: list[str], out: Path, pieces: int = PIECES) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(out.with_suffix("")), model_type="bpe",
        vocab_size=pieces, byte_fallback=True, character_coverage=1.0, split_digits=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1, minloglevel=2,
    )
    out.with_suffix(".vocab").unlink()


class Tokenizer:
    """`encode` gives SentencePiece's ids of one chunk of text. Pieces never cross a space, so words are cached."""

    def __init__(self, path: Path):
        self.model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.image = self.model.vocab_size()  # the id right after the pieces
        self.vocab = -(-(self.image + 1) // 64) * 64
        self.prefix = [BOS] + self.encode("USER: ")
        self._word = lru_cache(maxsize=None)(lambda word: tuple(self.model.encode(word)))

    def encode(self, text: str) -> list[int]:
        return self.model.encode(text)

    def words(self, text: str) -> list[int]:
        """Ids of ` text` where it goes on after other words."""
        return list(chain.from_iterable(self._word(word) for word in text.split(" ")))

    def turn(self, question: str, first: bool) -> list[int]:
        """Ids from the picture, or from the end of the turn before, to the place where the answer begins."""
        if first:
            head, _, rest = question.partition(" ")
            return list(self._word("\n" + head)) + self.words(rest + " ASSISTANT:")
        return self.words(f"USER: {question} ASSISTANT:")

    def answer(self, answer: str) -> list[int]:
        return self.words(answer) + [EOS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tokenizer.model"))
    options = parser.parse_args()
    train(training_text(), options.out)
    print(f"{options.out}: {Tokenizer(options.out).image} pieces")


if __name__ == "__main__":
    main()
