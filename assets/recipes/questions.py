"""Questions about a scene, each with the answer that the scene gives."""

from collections import Counter
from dataclasses import dataclass
from random import Random

from vocabulary import COLORS, SHAPES, with_article
from world import Thing, World, cell, is_clear, place

CATEGORIES = ("at", "where", "colour", "count", "exists", "relation", "sign", "total")
CLEAR_DISTANCE = 24.0  # pixels between two centres before one is called left of or above the other

TEMPLATES = {
    "at": ("What is at the {place}?", "What can you see at the {place}?", "Which thing is at the {place}?",
           "What is at the {place} of the picture?"),
    "where": ("Where is the {name}?", "Where is the {name} in the picture?", "Where can you see the {name}?",
              "In which part of the picture is the {name}?"),
    "colour": ("What color is the {shape}?", "What colour is the {shape}?", "Which color is the {shape}?",
               "What is the color of the {shape}?"),
    "count": ("How many {plural} are there?", "How many {plural} can you see?",
              "How many {plural} are in the picture?", "Count the {plural}."),
    "exists": ("Is there {one}?", "Is there {one} in the picture?", "Can you see {one}?",
               "Does the picture show {one}?"),
    "relation": ("Is the {name} {relation} the {other}?", "Is the {name} {relation} the {other} in the picture?"),
    "sign": ("What does the sign say?", "What is written on the sign?", "Read the sign.",
             "What can you read on the sign?"),
    "total": ("How many things are there?", "How many things are in the picture?", "How many things can you see?",
              "Count the things in the picture."),
    "describe": ("Describe the picture.", "What is in the picture?", "What do you see?",
                 "What does the picture show?"),
}
RELATIONS = {  # phrase: (axis, sign of the difference that makes it true)
    "left of": ("x", -1), "right of": ("x", 1), "above": ("y", -1), "below": ("y", 1),
    "to the left of": ("x", -1), "to the right of": ("x", 1),
}
COUNT_WORDS = ("no", "one", "two", "three", "four", "five", "six")


@dataclass(frozen=True)
class Question:
    category: str
    text: str
    answer: str
    subject: tuple[str, ...]  # what is asked about, whatever the phrasing
    shown: tuple[Thing, ...]  # the things that hold the answer; none where the answer is that something is missing


class Asker:
    """Asks about scenes of one world. `ask` returns None where a scene cannot be asked that way."""

    def __init__(self, world: World):
        self.world = world
        self.kinds = world.kinds
        self.by_look = {(kind.shape, kind.color): i for i, kind in enumerate(world.kinds) if kind.shape}

    def ask(self, category: str, things: list[Thing], rng: Random) -> Question | None:
        found = getattr(self, "_" + category)(things, rng)
        if found is None:
            return None
        words, answer, shown = found
        text = rng.choice(TEMPLATES[category]).format(**words)
        return Question(category, text, answer[0].upper() + answer[1:], tuple(words.values()), tuple(shown))

    def _name(self, thing: Thing) -> str:
        return self.kinds[thing.kind].name

    def _unique(self, things: list[Thing]) -> list[Thing]:
        names = Counter(self._name(thing) for thing in things)
        return [thing for thing in things if names[self._name(thing)] == 1]

    def _at(self, things, rng):
        if not all(is_clear(thing) for thing in things):
            things = [t for t in things if is_clear(t) and all(is_clear(o) or _far(t, o) for o in things)]
        cells = Counter(cell(thing) for thing in things)
        alone = [thing for thing in things if cells[cell(thing)] == 1]
        plain = [thing for thing in alone if not self.kinds[thing.kind].text]
        if plain and rng.random() < 0.7:
            alone = plain
        if not alone:
            return None
        thing = rng.choice(alone)
        return {"place": place(thing)}, with_article(self._name(thing)), [thing]

    def _where(self, things, rng):
        clear = [thing for thing in self._unique(things) if is_clear(thing)]
        if not clear:
            return None
        thing = rng.choice(clear)
        return {"name": self._name(thing)}, place(thing), [thing]

    def _colour(self, things, rng):
        shapes = [thing for thing in things if self.kinds[thing.kind].shape]
        counts = Counter(self.kinds[thing.kind].shape for thing in shapes)
        single = [thing for thing in shapes if counts[self.kinds[thing.kind].shape] == 1]
        if not single:
            return None
        thing = rng.choice(single)
        kind = self.kinds[thing.kind]
        return {"shape": kind.shape}, kind.color, [thing]

    def _count(self, things, rng):
        counts = Counter(thing.kind for thing in things if not self.kinds[thing.kind].text)
        number = rng.choice(sorted(set(counts.values())) + [0] * (rng.random() < 0.5))
        if number == 0:
            kind = self._absent(things, rng)
        else:
            kind = rng.choice([k for k, n in counts.items() if n == number])
        return {"plural": self.kinds[kind].plural}, str(number), [thing for thing in things if thing.kind == kind]

    def _exists(self, things, rng):
        if rng.random() < 0.5:
            name = self._name(rng.choice(things))
            return {"one": with_article(name)}, "yes", [thing for thing in things if self._name(thing) == name]
        if rng.random() < 0.1 and not any(self.kinds[thing.kind].text for thing in things):
            return {"one": "a sign"}, "no", []
        return {"one": with_article(self.kinds[self._absent(things, rng)].name)}, "no", []

    def _absent(self, things: list[Thing], rng: Random) -> int:
        """A kind that the scene lacks; half the time one that differs from a shown shape in one respect."""
        shown = {thing.kind for thing in things}
        looks = [self.kinds[kind] for kind in sorted(shown) if self.kinds[kind].shape]
        while True:
            if looks and rng.random() < 0.5:
                look = rng.choice(looks)
                if rng.random() < 0.5:
                    kind = self.by_look[look.shape, rng.choice(list(COLORS))]
                else:
                    kind = self.by_look[rng.choice(list(SHAPES)), look.color]
            else:
                kind = self.world.plain_kind(rng)
            if kind not in shown:
                return kind

    def _relation(self, things, rng):
        unique = self._unique(things)
        if len(unique) < 2:
            return None
        first, second = rng.sample(unique, 2)
        phrase = rng.choice(list(RELATIONS))
        axis, direction = RELATIONS[phrase]
        difference = getattr(first, axis) - getattr(second, axis)
        if abs(difference) < CLEAR_DISTANCE:
            return None
        words = {"name": self._name(first), "relation": phrase, "other": self._name(second)}
        return words, "yes" if difference * direction > 0 else "no", [first, second]

    def _sign(self, things, rng):
        signs = [thing for thing in things if self.kinds[thing.kind].text]
        return ({}, self.kinds[signs[0].kind].text, signs[:1]) if signs else None

    def _total(self, things, rng):
        return {}, str(len(things)), things

    def _describe(self, things, rng):
        """All things in reading order, equal ones counted together where the first of them stands."""
        ordered = sorted(things, key=lambda thing: (cell(thing) // 3, thing.x))
        counts = Counter(thing.kind for thing in ordered)
        parts = []
        for kind, number in counts.items():
            info = self.kinds[kind]
            if info.text:
                parts.append(f"a sign that says {info.text}")
            else:
                parts.append(with_article(info.name) if number == 1 else f"{COUNT_WORDS[number]} {info.plural}")
        listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
        return {}, f"the picture shows {listed}.", things


def _far(thing: Thing, other: Thing) -> bool:
    """True when `other`, whose ninth is unclear, cannot be taken to lie in the ninth of `thing`."""
    return thing is other or max(abs(thing.x - other.x), abs(thing.y - other.y)) > 140
