"""Questions about scenes and clips, each with its answer and with the things that hold the answer."""

from collections import Counter
from dataclasses import dataclass
from random import Random

from emoji_world.phrases import TEMPLATES
from emoji_world.vocabulary import COLORS, COVERED_BY, PLACES, SHAPES, listed, with_article
from emoji_world.world import (DIRECTIONS, FEWEST, MOST, Clip, Scene, Thing, World, box_of, is_clear, place,
                               place_index)

SHORT = ("at", "where", "colour", "count", "total", "exists", "left", "right", "above", "below", "sign")
PICTURE_CATEGORIES = SHORT + ("describe",)
CLIP_CATEGORIES = ("motion", "appeared")
CATEGORIES = PICTURE_CATEGORIES + CLIP_CATEGORIES + ("text",)
RELATIONS = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
CLEAR_DISTANCE = 24.0  # pixels between two centres before one is called left of or above the other
INTRUSION = 0.1  # share of a ninth that other things may cover before it is unclear what is there
COUNT_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MOST_COUNTED = 6
VALUES = {  # of Option.value, where there are few
    "at": PLACES, "where": PLACES, "colour": tuple(COLORS), "count": tuple(str(n) for n in range(MOST_COUNTED + 1)),
    "total": tuple(str(n) for n in range(FEWEST, MOST + 1)), "motion": tuple(DIRECTIONS),
    **{predicate: ("yes", "no") for predicate in ("left", "right", "above", "below")},
}
SLACK = 3  # leaves more questions of a scene to choose from than 0


@dataclass(frozen=True)
class Question:
    """`evidence`: (frame, index of thing) of everything that holds the answer, none where the answer is that something
    is missing. `names`: what a description should name."""

    category: str
    text: str
    answer: str
    subject: tuple[str, ...]  # what is asked about, whatever the phrasing
    evidence: tuple[tuple[int, int], ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """Something that could be asked. `group` and `value`: values are asked for equally often within a group."""

    words: dict
    answer: str
    evidence: tuple[tuple[int, int], ...]
    group: str
    value: str


class Balance:
    """Counts what was asked, and chooses what was asked least often; nothing where that would let a value of VALUES
    get more than `slack` questions ahead of another."""

    def __init__(self, slack: int):
        self.slack = slack
        self.asked: Counter = Counter()

    def choose(self, category: str, options: list[Option], rng: Random) -> Option | None:
        if not options:
            return None
        group = rng.choice(sorted({option.group for option in options}))
        asked = {option.value: self.asked[category, group, option.value] for option in options if option.group == group}
        least = min(asked.values())
        if least > self.slack + min(self.asked[category, group, value] for value in VALUES.get(category, asked)):
            return None
        option = rng.choice([o for o in options if o.group == group and asked[o.value] == least])
        self.asked[category, group, option.value] += 1
        return option


class Asker:
    """Asks about scenes and clips of one world. `ask` returns None where a scene cannot be asked that way."""

    def __init__(self, world: World, slack: int = SLACK):
        self.world = world
        self.kinds = world.kinds
        self.balance = Balance(slack)

    def ask(self, category: str, seen: Scene | Clip, rng: Random) -> Question | None:
        option = self.balance.choose(category, self.options(category, seen, rng), rng)
        if option is None:
            return None
        text = rng.choice(TEMPLATES[category]).format(**option.words)
        answer = option.answer[0].upper() + option.answer[1:]
        names = tuple(self._names(seen)) if category == "describe" else ()
        return Question(category, text, answer, tuple(option.words.values()), option.evidence, names)

    def options(self, category: str, seen: Scene | Clip, rng: Random) -> list[Option]:
        if category in RELATIONS:
            return self._relation(seen, category)
        return getattr(self, "_" + category)(seen, rng)

    def _name(self, thing: Thing) -> str:
        return self.kinds[thing.kind].name

    def _arguable(self, name: str, shown: set[str]) -> bool:
        """True where the picture shows something that some people would call by that name too."""
        return not shown.isdisjoint(COVERED_BY.get(name, ()))

    def _called(self, scene: Scene) -> list[tuple[int, str]]:
        """(thing, name) of all names that belong to one thing of the scene alone."""
        shown = {self._name(thing) for thing in scene.things}
        kinds = Counter(thing.kind for thing in scene.things)
        forms = Counter(self.kinds[thing.kind].shape for thing in scene.things)
        called = []
        for index, thing in enumerate(scene.things):
            kind = self.kinds[thing.kind]
            if kinds[thing.kind] == 1 and not self._arguable(kind.shape or kind.name, shown):
                called.append((index, kind.name))
                if kind.shape and forms[kind.shape] == 1:
                    called.append((index, kind.shape))
        return called

    def _at(self, scene: Scene, rng: Random) -> list[Option]:
        options = []
        for index, thing in enumerate(scene.things):
            alone = all(not _intrudes(other, place_index(thing, scene), scene)
                        for number, other in enumerate(scene.things) if number != index)
            if alone and is_clear(thing, scene) and (not self.kinds[thing.kind].text or rng.random() < 0.2):
                name, spot = with_article(self._name(thing)), place(thing, scene)
                options.append(Option({"place": spot}, name, ((0, index),), "", spot))
        return options

    def _where(self, scene: Scene, rng: Random) -> list[Option]:
        return [
            Option({"name": name}, spot, ((0, index),), "", spot) for index, name in self._called(scene)
            if is_clear(scene.things[index], scene) and (spot := place(scene.things[index], scene))
        ]

    def _colour(self, scene: Scene, rng: Random) -> list[Option]:
        shown = {self._name(thing) for thing in scene.things}
        options = []
        for form in SHAPES:
            alike = [(i, t) for i, t in enumerate(scene.things) if self.kinds[t.kind].shape == form]
            if self._arguable(form, shown):
                continue
            places = Counter(place(thing, scene) for _, thing in alike)
            for index, thing in alike:
                color, name = self.kinds[thing.kind].color, form
                if len(alike) > 1:  # which one is meant must be said
                    if places[place(thing, scene)] > 1 or not all(is_clear(t, scene) for _, t in alike):
                        continue
                    name = f"{form} at the {place(thing, scene)}"
                group = "one" if len(alike) == 1 else "several"
                options.append(Option({"name": name}, color, ((0, index),), group, color))
        return options

    def _count(self, scene: Scene, rng: Random) -> list[Option]:
        shown = {self._name(thing) for thing in scene.things}
        options = []

        def add(group: str, general: str, plural: str, wanted) -> None:
            found = tuple((0, i) for i, t in enumerate(scene.things) if wanted(self.kinds[t.kind]))
            if not self._arguable(general, shown) and len(found) <= MOST_COUNTED:
                options.append(Option({"plural": plural}, str(len(found)), found, group, str(len(found))))

        kinds = [self.kinds[i] for i in sorted({thing.kind for thing in scene.things})]
        for kind in kinds + [self._absent(scene, kinds[0], rng), self._absent(scene, kinds[-1], rng)]:
            if kind.code_point:
                add("emoji", kind.name, kind.plural, lambda other, kind=kind: other == kind)
            elif kind.shape:
                add("look", kind.shape, kind.plural, lambda other, kind=kind: other == kind)
        for form in {kind.shape for kind in kinds if kind.shape} | {rng.choice(list(SHAPES))}:
            add("form", form, SHAPES[form], lambda other, form=form: other.shape == form)
        return sorted(options, key=lambda option: option.words["plural"])

    def _total(self, scene: Scene, rng: Random) -> list[Option]:
        number = len(scene.things)
        return [Option({}, str(number), _all(scene), "", str(number))]

    def _exists(self, scene: Scene, rng: Random) -> list[Option]:
        """About one thing that is shown, or about one of the same sort that is not."""
        shown = {self._name(thing) for thing in scene.things}
        kind = self.kinds[rng.choice(scene.things).kind]
        if "sign" not in shown and rng.random() < 0.12:
            return [Option({"one": "a sign"}, "no", (), "sign", "no")]
        found = tuple((0, i) for i, thing in enumerate(scene.things) if self._name(thing) == kind.name)
        sort = "sign" if kind.text else "shape" if kind.shape else "emoji"
        options = [Option({"one": with_article(kind.name)}, "yes", found, sort, "yes")]
        if not kind.text:
            absent = self._absent(scene, kind, rng)
            if not self._arguable(absent.shape or absent.name, shown):
                options.append(Option({"one": with_article(absent.name)}, "no", (), sort, "no"))
        return options

    def _absent(self, scene: Scene, like, rng: Random):
        """A kind that the scene lacks: a shape that differs from `like` in one respect, or any emoji."""
        shown = {thing.kind for thing in scene.things}
        while True:
            if like.shape and rng.random() < 0.5:
                kind = self.world.by_look[like.shape, rng.choice(list(COLORS))]
            elif like.shape:
                kind = self.world.by_look[rng.choice(list(SHAPES)), like.color]
            else:
                kind = rng.choice(self.world.emoji)
            if kind not in shown:
                return self.kinds[kind]

    def _relation(self, scene: Scene, relation: str) -> list[Option]:
        across, down = RELATIONS[relation]
        called = self._called(scene)
        options = []
        for first, name in called:
            for second, other in called:
                a, b = scene.things[first], scene.things[second]
                distance = (a.x - b.x) * across + (a.y - b.y) * down
                if first != second and abs(distance) >= max(CLEAR_DISTANCE, (a.size + b.size) / 4):
                    answer = "yes" if distance > 0 else "no"
                    evidence = tuple(sorted(((0, first), (0, second))))
                    options.append(Option({"name": name, "other": other}, answer, evidence, "", answer))
        return options

    def _sign(self, scene: Scene, rng: Random) -> list[Option]:
        signs = [(i, self.kinds[t.kind].text) for i, t in enumerate(scene.things) if self.kinds[t.kind].text]
        return [Option({}, text, ((0, index),), "", text) for index, text in signs]

    def _describe(self, scene: Scene, rng: Random) -> list[Option]:
        """One or two sentences: the things in reading order, equal ones together, and what the sign says."""
        parts, sign = [], ""
        for kind, number in Counter(thing.kind for thing in _reading_order(scene)).items():
            info = self.kinds[kind]
            if info.text:
                sign = info.text
            else:
                parts.append(with_article(info.name) if number == 1 else f"{COUNT_WORDS[number]} {info.plural}")
        text = f"the picture shows {listed(parts)}."
        if sign:
            text += f" The sign says {sign}."
        return [Option({}, text, _all(scene), "", "")]

    def _names(self, scene: Scene) -> list[str]:
        """What a description should name, in the words of the right one."""
        counted = Counter(thing.kind for thing in _reading_order(scene)).items()
        kinds = ((self.kinds[kind], number) for kind, number in counted)
        return [kind.text or (kind.name if number == 1 else kind.plural) for kind, number in kinds]

    def _motion(self, clip: Clip, rng: Random) -> list[Option]:
        shown = {self._name(thing) for frame in clip.frames for thing in frame.things}
        options = []
        for move in clip.moves:
            kind = self.kinds[move.kind]
            if not self._arguable(kind.shape or kind.name, shown):
                evidence = _everywhere(clip, move.kind)
                options.append(Option({"name": kind.name}, move.direction, evidence, "", move.direction))
        return options

    def _appeared(self, clip: Clip, rng: Random) -> list[Option]:
        if clip.appeared is None:
            return []
        name = self.kinds[clip.appeared].name
        return [Option({}, with_article(name), _everywhere(clip, clip.appeared), "", name)]


def _all(scene: Scene) -> tuple[tuple[int, int], ...]:
    return tuple((0, index) for index in range(len(scene.things)))


def _everywhere(clip: Clip, kind: int) -> tuple[tuple[int, int], ...]:
    return tuple(
        (number, index) for number, frame in enumerate(clip.frames)
        for index, thing in enumerate(frame.things) if thing.kind == kind
    )


def _reading_order(scene: Scene) -> list[Thing]:
    return sorted(scene.things, key=lambda thing: (place_index(thing, scene) // 3, thing.x))


def _intrudes(thing: Thing, ninth: int, scene: Scene) -> bool:
    """True when a thing could be taken to lie in that ninth of the picture, or covers too much of it."""
    width, height = scene.width / 3, scene.height / 3
    left, top = ninth % 3 * width, ninth // 3 * height
    box = box_of(thing)
    across = min(box[2], left + width) - max(box[0], left)
    down = min(box[3], top + height) - max(box[1], top)
    if across > 0 and down > 0 and across * down > INTRUSION * width * height:
        return True
    return place_index(thing, scene) == ninth
