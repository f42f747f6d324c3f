"""Held-out sets in memory: pictures, clips, the questions about them, and the cells that hold the answers."""

from collections import defaultdict
from dataclasses import dataclass
from random import Random

import numpy as np

from emoji_world.atlas import Atlas
from emoji_world.questions import CATEGORIES, CLIP_CATEGORIES, PICTURE_CATEGORIES, Asker, Question
from emoji_world.render import GRID, Renderer, scene_rows
from emoji_world.text_questions import TextAsker
from emoji_world.world import ASPECTS, FEWEST_FRAMES, MOST_FRAMES, Clip, Scene, World

ROUNDS = 12  # over all pictures, in search of more questions of one category
EVIDENT_PIXELS = 2  # of a cell in which a thing must be seen to make the cell part of the evidence


@dataclass(frozen=True)
class Asked:
    """A question about picture or clip number `about` of the set; None where it needs no picture."""

    about: int | None
    question: Question
    evidence: tuple[int, ...]  # ascending indices among the visual tokens of the prompt


@dataclass(frozen=True)
class HeldOut:
    """`seen`: pictures, then clips."""

    seen: list[Scene | Clip]
    asked: list[Asked]


def frames_of(seen: Scene | Clip) -> tuple[Scene, ...]:
    return seen.frames if isinstance(seen, Clip) else (seen,)


def compose(world: World, pictures: int, clips: int, per_category: int, rng: Random) -> tuple[list, list]:
    """Pictures and clips, each aspect ratio and length as often as the others, and [(about, question)]."""
    asker, text_asker = Asker(world, slack=0), TextAsker(world.kinds)
    aspects = list(ASPECTS)
    seen: list[Scene | Clip] = [world.scene(rng, aspects[i % len(aspects)]) for i in range(pictures)]
    lengths = range(FEWEST_FRAMES, MOST_FRAMES + 1)
    seen += [world.clip(rng, aspects[i % len(aspects)], lengths[i % len(lengths)]) for i in range(clips)]
    chosen: list[tuple[int | None, Question]] = []
    used: dict[int, int] = defaultdict(int)
    for category in sorted(PICTURE_CATEGORIES + CLIP_CATEGORIES, key=lambda c: c not in ("sign", "colour", "count")):
        where = range(pictures, pictures + clips) if category in CLIP_CATEGORIES else range(pictures)
        subjects = set()
        for _ in range(ROUNDS):
            for index in sorted(where, key=lambda i: (used[i], rng.random())):
                if len(subjects) == per_category:
                    break
                before = asker.balance.asked.copy()
                question = asker.ask(category, seen[index], rng)
                if question and (index, question.subject) in subjects:
                    asker.balance.asked = before
                elif question:
                    subjects.add((index, question.subject))
                    chosen.append((index, question))
                    used[index] += 1
    texts = {}
    while len(texts) < per_category // 2:
        question = text_asker.ask(rng)
        texts.setdefault(question.subject, question)
    chosen += [(None, question) for question in texts.values()]
    order = CATEGORIES.index
    return seen, sorted(chosen, key=lambda c: (len(seen) if c[0] is None else c[0], order(c[1].category)))


class Evidence:
    """Finds the cells in which things can be seen."""

    def __init__(self, seen: list[Scene | Clip], atlas: Atlas, renderer: Renderer):
        self.seen, self.atlas, self.renderer = seen, atlas, renderer
        self.covered: dict[tuple[int, int], np.ndarray] = {}  # [things, cells] pixels of (about, frame)

    def of(self, about: int, question: Question) -> tuple[int, ...]:
        """Ascending indices among the visual tokens of a prompt that shows the picture, or all frames of the clip."""
        cells: set[int] = set()
        for frame, thing in question.evidence:
            if (about, frame) not in self.covered:
                rows = scene_rows(frames_of(self.seen[about])[frame], self.atlas.first)
                self.covered[about, frame] = self.renderer.coverage(rows)
            found = np.flatnonzero(self.covered[about, frame][thing] >= EVIDENT_PIXELS)
            cells.update(frame * GRID * GRID + int(cell) for cell in found)
        return tuple(sorted(cells))


def make(world: World, atlas: Atlas, renderer: Renderer, pictures: int, clips: int, per_category: int,
         rng: Random) -> HeldOut:
    seen, chosen = compose(world, pictures, clips, per_category, rng)
    evidence = Evidence(seen, atlas, renderer)
    asked = [
        Asked(about, question, () if about is None else evidence.of(about, question)) for about, question in chosen
    ]
    return HeldOut(seen, asked)
