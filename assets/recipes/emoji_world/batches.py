"""Training batches: scenes as numbers for the renderer, and rows of conversations about them (see model.py)."""

from dataclasses import dataclass
from random import Random

import numpy as np

from emoji_world.atlas import Atlas
from emoji_world.model import ALONE, COMMON, UNUSED
from emoji_world.questions import PICTURE_CATEGORIES, SHORT, Asker, Question
from emoji_world.render import FIELDS, GRID, scene_rows
from emoji_world.text_questions import TextAsker
from emoji_world.tokenizer import Tokenizer
from emoji_world.vocabulary import load_kinds
from emoji_world.world import FEWEST_FRAMES, MOST, MOST_FRAMES, World

SLOTS = {"pictures": 1, "clips": MOST_FRAMES, "alone": 0}  # kinds of batches, and pictures in a row of each
TEXT = {"pictures": 204, "clips": 140, "alone": 216}  # at least so many text tokens in a row
ANSWERS = 88  # answer tokens in a row
ALIGNED = 8  # fast attention wants rows to be a multiple of this long
DESCRIBE_SHARE, DESCRIBE_WEIGHT = 0.3, 0.25
NEW_CONVERSATION = 0.65
TEXT_SHARE, TEXT_ALONE = 0.5, 0.6  # pictures with a text question, and how many of these are asked without the picture
HARD = ("at", "where", "count", "left", "right", "above", "below", "total", "count", "where")


@dataclass
class Batch:
    """All arrays start with the row; `question` numbers the question an answer token belongs to (-1: none)."""

    rows: np.ndarray  # [slots, MOST, FIELDS]
    sizes: np.ndarray  # [slots, 2], width and height of the picture within the padded square
    background: np.ndarray  # [slots], the slot whose background is shown
    slot_start: np.ndarray  # [slots], position of the first visual token
    slot_scene: np.ndarray  # [slots], UNUSED or the number of the clip
    ids: np.ndarray  # [text]
    positions: np.ndarray  # [text], in a prompt of their own
    scene: np.ndarray  # [text]
    conversation: np.ndarray  # [text]
    places: np.ndarray  # [ANSWERS], index into the text of the token before the answer token
    targets: np.ndarray  # [ANSWERS]
    weights: np.ndarray  # [ANSWERS], 0 where padded
    question: np.ndarray  # [ANSWERS]
    asked: list[list[tuple[Question, bool]]]  # with whether it opens a conversation


class Row:
    """Writes conversations into one row of a batch, as long as they fit."""

    def __init__(self, batch: Batch, index: int):
        self.batch, self.index = batch, index
        self.end = self.answers = self.conversations = 0
        self.asked: list[tuple[Question, bool]] = []
        batch.asked.append(self.asked)

    def open(self) -> None:
        self.conversations += 1

    def say(self, question: Question, opens: bool, turn: list, answer: list, scene: int, position: int) -> int:
        """Adds a turn of the newest conversation at this position; the position after it, or -1 where it does not
        fit."""
        batch, index = self.batch, self.index
        stop, after = self.end + len(turn) + len(answer), self.answers + len(answer)
        if stop > batch.ids.shape[1] or after > batch.places.shape[1]:
            return -1
        written = slice(self.end, stop)
        batch.ids[index, written] = turn + answer
        batch.positions[index, written] = np.arange(position, position + stop - self.end)
        batch.scene[index, written] = scene
        batch.conversation[index, written] = self.conversations
        answered = slice(self.answers, after)
        batch.places[index, answered] = np.arange(self.end + len(turn) - 1, stop - 1)
        batch.targets[index, answered] = answer
        batch.weights[index, answered] = DESCRIBE_WEIGHT if question.category == "describe" else 1.0
        batch.question[index, answered] = len(self.asked)
        self.asked.append((question, opens))
        position += stop - self.end
        self.end, self.answers = stop, after
        return position


class BatchMaker:
    """Makes batches of one kind of SLOTS."""

    def __init__(self, tokenizer: Tokenizer, atlas: Atlas, kind: str):
        self.tokenizer, self.first_tile, self.kind = tokenizer, atlas.first, kind
        kinds = load_kinds()
        self.world = World(kinds)
        self.asker, self.text_asker = Asker(self.world), TextAsker(kinds)
        slots = SLOTS[kind]
        before = len(tokenizer.prefix) + (slots - 1) * len(tokenizer.between) if slots else 0
        self.text = TEXT[kind] + -(before + TEXT[kind]) % ALIGNED

    def make(self, size: int, rng: Random) -> Batch:
        slots, text = SLOTS[self.kind], self.text
        batch = Batch(
            rows=np.zeros((size, slots, MOST, FIELDS), np.float32), sizes=np.zeros((size, slots, 2), np.float32),
            background=np.zeros((size, slots), np.int64), slot_start=np.zeros((size, slots), np.int64),
            slot_scene=np.full((size, slots), UNUSED, np.int64),
            ids=np.zeros((size, text), np.int64), positions=np.zeros((size, text), np.int64),
            scene=np.full((size, text), UNUSED, np.int64), conversation=np.full((size, text), COMMON, np.int64),
            places=np.zeros((size, ANSWERS), np.int64), targets=np.zeros((size, ANSWERS), np.int64),
            weights=np.zeros((size, ANSWERS), np.float32), question=np.full((size, ANSWERS), -1, np.int64), asked=[],
        )
        batch.rows[..., 2] = -1
        write = {"pictures": self._picture, "clips": self._clips, "alone": self._alone}[self.kind]
        for index in range(size):
            write(batch, index, rng)
        return batch

    def _picture(self, batch: Batch, index: int, rng: Random) -> None:
        scene = self.world.scene(rng)
        self._show(batch, index, 0, 0, [scene])
        self._discuss(Row(batch, index), self._questions(scene, rng), 0, 1, rng)

    def _clips(self, batch: Batch, index: int, rng: Random) -> None:
        row, slot, number = Row(batch, index), 0, 0
        while MOST_FRAMES - slot >= FEWEST_FRAMES:
            length = rng.randint(FEWEST_FRAMES, MOST_FRAMES - slot)
            clip = self.world.clip(rng, length=length)
            self._show(batch, index, slot, number, clip.frames)
            asked = [self.asker.ask(category, clip, rng) for category in ("motion", "appeared", "motion")]
            self._discuss(row, [question for question in asked if question], number, length, rng)
            slot, number = slot + length, number + 1

    def _alone(self, batch: Batch, index: int, rng: Random) -> None:
        """What the others ask, but without the pictures."""
        clip = self.world.clip(rng)
        asked = self._questions(self.world.scene(rng), rng)
        asked += [q for q in (self.asker.ask("motion", clip, rng), self.asker.ask("appeared", clip, rng)) if q]
        rng.shuffle(asked)
        self._discuss(Row(batch, index), asked, ALONE, 0, rng)

    def _show(self, batch: Batch, index: int, slot: int, number: int, frames) -> None:
        start = len(self.tokenizer.prefix)
        for place, frame in enumerate(frames):
            batch.rows[index, slot + place] = scene_rows(frame, self.first_tile)
            batch.sizes[index, slot + place] = frame.width, frame.height
            batch.slot_start[index, slot + place] = start + place * (GRID * GRID + len(self.tokenizer.between))
        batch.background[index, slot:slot + len(frames)] = slot
        batch.slot_scene[index, slot:slot + len(frames)] = number

    def _questions(self, scene, rng: Random) -> list[Question]:
        """Every category once in random order, then more of the hard ones."""
        categories = list(SHORT)
        if rng.random() < DESCRIBE_SHARE:
            categories.append(PICTURE_CATEGORIES[-1])
        rng.shuffle(categories)
        more = list(HARD)
        rng.shuffle(more)
        asked = [question for category in categories + more if (question := self.asker.ask(category, scene, rng))]
        if rng.random() < TEXT_SHARE:
            asked.insert(rng.randrange(6), self.text_asker.ask(rng))
        return asked

    def _discuss(self, row: Row, questions: list[Question], scene: int, pictures: int, rng: Random) -> None:
        """Asks about the pictures of one scene, in conversations of one or more turns."""
        tokenizer = self.tokenizer
        behind = len(tokenizer.prefix) + pictures * GRID * GRID + max(0, pictures - 1) * len(tokenizer.between)
        position = -1  # no conversation is open
        for question in questions:
            answer = tokenizer.answer(question.answer)
            if question.category == "text" and rng.random() < TEXT_ALONE:
                row.open()
                turn = tokenizer.alone(question.text)
                row.say(question, True, turn, answer, ALONE + row.conversations, 0)
                position = -1
                continue
            opens = position < 0 or rng.random() < NEW_CONVERSATION
            if opens:
                row.open()
                position = behind if pictures else 0
            turn = tokenizer.turn(question.text, opens) if pictures or not opens else tokenizer.alone(question.text)
            position = row.say(question, opens, turn, answer, scene, position)
