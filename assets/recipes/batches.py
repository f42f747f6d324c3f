"""Training batches: scenes as numbers for the renderer, and packed conversations about them."""

from dataclasses import dataclass
from random import Random

import numpy as np

from atlas import Atlas
from questions import CATEGORIES, Asker, Question
from render import FIELDS, scene_rows
from tokenizer import Tokenizer
from vocabulary import load_kinds
from world import MAX_THINGS, World

TEXT = 204  # text tokens behind each picture; with prefix and picture a multiple of 8, as fast attention wants it
ANSWERS = 84  # answer tokens among them
DESCRIBE_SHARE, DESCRIBE_WEIGHT = 0.3, 0.25
NEW_CONVERSATION = 0.65
HARD = ("at", "where", "relation", "count", "at", "where", "relation", "total")


@dataclass
class Batch:
    """All arrays start with the picture; `question` numbers the question an answer token belongs to (-1: none)."""

    rows: np.ndarray  # [MAX_THINGS, FIELDS]
    ids: np.ndarray  # [TEXT]
    offsets: np.ndarray  # [TEXT], position within the conversation
    conversation: np.ndarray  # [TEXT], -1 where padded
    places: np.ndarray  # [ANSWERS], index into TEXT of the token before the answer token
    targets: np.ndarray  # [ANSWERS]
    weights: np.ndarray  # [ANSWERS], 0 where padded
    question: np.ndarray  # [ANSWERS]
    asked: list[list[tuple[Question, bool]]]  # with whether it opens a conversation


class BatchMaker:
    def __init__(self, tokenizer: Tokenizer, atlas: Atlas):
        self.tokenizer, self.first_tile = tokenizer, atlas.first
        self.world = World(load_kinds())
        self.asker = Asker(self.world)

    def make(self, size: int, rng: Random) -> Batch:
        batch = Batch(
            rows=np.zeros((size, MAX_THINGS, FIELDS), np.float32),
            ids=np.zeros((size, TEXT), np.int64), offsets=np.zeros((size, TEXT), np.int64),
            conversation=np.full((size, TEXT), -1, np.int64), places=np.zeros((size, ANSWERS), np.int64),
            targets=np.zeros((size, ANSWERS), np.int64), weights=np.zeros((size, ANSWERS), np.float32),
            question=np.full((size, ANSWERS), -1, np.int64), asked=[],
        )
        for index in range(size):
            things = self.world.scene(rng)
            batch.rows[index] = scene_rows(things, self.first_tile)
            batch.asked.append(self._write(batch, index, self._questions(things, rng), rng))
        return batch

    def _questions(self, things, rng: Random) -> list[Question]:
        """Every category once in random order, then more of the hard ones."""
        categories = list(CATEGORIES)
        if rng.random() < DESCRIBE_SHARE:
            categories.append("describe")
        rng.shuffle(categories)
        more = list(HARD)
        rng.shuffle(more)
        asked = (self.asker.ask(category, things, rng) for category in categories + more)
        return [question for question in asked if question]

    def _write(self, batch: Batch, index: int, questions: list[Question], rng: Random) -> list[tuple[Question, bool]]:
        end = answers = offset = 0
        conversation = -1
        asked = []
        for question in questions:
            opens = conversation < 0 or rng.random() < NEW_CONVERSATION
            if opens:
                conversation, offset = conversation + 1, 0
            turn, answer = self.tokenizer.turn(question.text, opens), self.tokenizer.answer(question.answer)
            stop, after = end + len(turn) + len(answer), answers + len(answer)
            if stop > TEXT or after > ANSWERS:
                break
            batch.ids[index, end:stop] = turn + answer
            batch.offsets[index, end:stop] = np.arange(offset, offset + stop - end)
            batch.conversation[index, end:stop] = conversation
            batch.places[index, answers:after] = np.arange(end + len(turn) - 1, stop - 1)
            batch.targets[index, answers:after] = answer
            batch.weights[index, answers:after] = DESCRIBE_WEIGHT if question.category == "describe" else 1.0
            batch.question[index, answers:after] = len(asked)
            asked.append((question, opens))
            offset += stop - end
            end, answers = stop, after
        return asked
