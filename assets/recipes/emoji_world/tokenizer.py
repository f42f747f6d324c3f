"""The SentencePiece tokenizer of this world, and conversations turned into token ids exactly as the runtime does it.

    python -m emoji_world.tokenizer
"""

import argparse
from itertools import chain
from pathlib import Path
from random import Random

import tokenizer as first_world
from emoji_world import MADE
from emoji_world.phrases import TEMPLATES, TEXT_TEMPLATES
from emoji_world.questions import CLIP_CATEGORIES, PICTURE_CATEGORIES, Asker
from emoji_world.text_questions import TextAsker
from emoji_world.vocabulary import SIGN_NUMBERS, SIGN_WORDS, load_kinds, with_article
from emoji_world.world import World

EXAMPLES = 3000  # pictures and clips in the text that the pieces are learned from


def training_text() -> list[str]:
    """Question and answer lines of the world, every name and sign often enough to become a piece."""
    kinds = load_kinds()
    world, rng = World(kinds), Random("tokenizer")
    asker, text_asker = Asker(world), TextAsker(kinds)
    lines = list(first_world.GENERAL_TEXT) * 200
    for kind in kinds:
        lines += [with_article(kind.name), with_article(kind.name).capitalize(), kind.plural,
                  kind.plural.capitalize()] * 12
    lines += list(SIGN_WORDS) * 12 + list(SIGN_NUMBERS) * 2
    # A question follows a line break without a space: its first word needs pieces of its own.
    lines += [f":{text.split()[0]}" for text in chain(*TEMPLATES.values(), *TEXT_TEMPLATES.values())] * 30
    for _ in range(EXAMPLES):
        scene, clip = world.scene(rng), world.clip(rng)
        asked = [asker.ask(category, scene, rng) for category in PICTURE_CATEGORIES]
        asked += [asker.ask(category, clip, rng) for category in CLIP_CATEGORIES] + [text_asker.ask(rng)]
        lines += [f"USER: {question.text} ASSISTANT: {question.answer}" for question in asked if question]
    return lines


class Tokenizer(first_world.Tokenizer):
    """Beside the turns of a conversation about one picture, those about a clip and those without any picture."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.between = self.encode("\n")  # two pictures of one question

    def alone(self, question: str) -> list[int]:
        """Ids of a first turn without a picture, from the start of the prompt."""
        return [first_world.BOS] + self.words(f"USER: {question} ASSISTANT:")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=MADE / "tokenizer.model")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    first_world.train(training_text(), options.out)
    print(f"{options.out}: {Tokenizer(options.out).image} pieces")


if __name__ == "__main__":
    main()
