"""Scenes and clips: which things lie where. Everything here is decided by one random.Random."""

from dataclasses import dataclass, replace
from random import Random

from emoji_world.vocabulary import COLORS, PLACES, SHAPES, Kind, smallest_sign

SIDE = 336.0  # lengths are in pixels of the model's square input
PATCH = 14.0
ASPECTS = {"1:1": (1, 1), "4:3": (4, 3), "3:4": (3, 4), "16:9": (16, 9), "9:16": (9, 16)}
EXTENTS = {  # of the picture within the padded square
    name: (SIDE * across / max(across, down), SIDE * down / max(across, down))
    for name, (across, down) in ASPECTS.items()
}
SIZES = ((1.7 * PATCH, 3 * PATCH), (3 * PATCH, 5 * PATCH), (5 * PATCH, 10 * PATCH))
FEWEST, MOST = 3, 9
GAP = 3.0  # pixels between two things
SPREAD = 1.07  # a tilted thing needs more room than an upright one
BORDER = 8.0  # a thing whose centre is this close to a line between thirds is at no clear place
SHORTEST_MOVE, LONGEST_MOVE = 70.0, 180.0
FEWEST_FRAMES, MOST_FRAMES = 2, 8
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True)
class Thing:
    """`x`, `y` is the centre within the picture, `size` the longer side, `tilt` in radians; `style` from 0 to 1
    chooses among the drawings of the kind."""

    x: float
    y: float
    size: float
    kind: int
    tilt: float = 0.0
    mirrored: bool = False
    brightness: float = 1.0
    style: float = 0.0


@dataclass(frozen=True)
class Scene:
    """A picture of `width` times `height` pixels (the longer of them is SIDE), padded to a square for the model."""

    aspect: str
    things: tuple[Thing, ...]

    @property
    def width(self) -> float:
        return EXTENTS[self.aspect][0]

    @property
    def height(self) -> float:
        return EXTENTS[self.aspect][1]


@dataclass(frozen=True)
class Move:
    """One thing of a clip that moves: what, and to which of DIRECTIONS."""

    kind: int
    direction: str


@dataclass(frozen=True)
class Clip:
    """Frames before one background. `appeared` is the kind of the thing that some later frame adds, if any does."""

    frames: tuple[Scene, ...]
    moves: tuple[Move, ...]
    appeared: int | None


def place_index(thing: Thing, scene: Scene) -> int:
    """Index into PLACES of the ninth of the picture that holds the thing's centre."""
    column = min(2, int(thing.x * 3 / scene.width))
    return min(2, int(thing.y * 3 / scene.height)) * 3 + column


def place(thing: Thing, scene: Scene) -> str:
    return PLACES[place_index(thing, scene)]


def is_clear(thing: Thing, scene: Scene) -> bool:
    """True when nobody could argue about the ninth that the thing lies in."""
    return all(
        abs(value - line * length / 3) > BORDER
        for value, length in ((thing.x, scene.width), (thing.y, scene.height)) for line in (1, 2)
    )


class World:
    """Draws random scenes over the given kinds."""

    def __init__(self, kinds: list[Kind]):
        self.kinds = kinds
        self.emoji = [i for i, kind in enumerate(kinds) if kind.code_point]
        self.shapes = [i for i, kind in enumerate(kinds) if kind.shape]
        self.numbers = [i for i, kind in enumerate(kinds) if kind.text.isdigit()]
        self.words = [i for i, kind in enumerate(kinds) if kind.text and not kind.text.isdigit()]
        self.by_look = {(kind.shape, kind.color): i for i, kind in enumerate(kinds) if kind.shape}

    def plain_kind(self, rng: Random) -> int:
        return rng.choice(self.emoji) if rng.random() < 0.8 else rng.choice(self.shapes)

    def scene(self, rng: Random, aspect: str = "") -> Scene:
        """Three to nine things: a family of two to six that share a name or a colour, others, perhaps a sign."""
        wanted = rng.randint(FEWEST, MOST)
        kinds = self._family(rng, wanted)
        if len(kinds) < wanted and rng.random() < 0.75:
            kinds.insert(0, rng.choice(self.numbers if rng.random() < 0.5 else self.words))
        kinds += self._strangers(rng, wanted - len(kinds), kinds)
        aspect = aspect or rng.choice(list(ASPECTS))
        return Scene(aspect, self._arrange(rng, kinds, Scene(aspect, ()), [(0.0, 0.0)] * wanted))

    def clip(self, rng: Random, aspect: str = "", length: int = 0) -> Clip:
        """Two to eight frames of two to four still things, up to two moving ones, perhaps one that appears."""
        length = length or rng.randint(FEWEST_FRAMES, MOST_FRAMES)
        aspect = aspect or rng.choice(list(ASPECTS))
        appears = rng.random() < 0.75
        movers = rng.choice((1, 2, 2)) if not appears or rng.random() < 0.8 else 0
        kinds = self._strangers(rng, movers + appears + rng.randint(2, 4), [])
        names = [rng.choice(list(DIRECTIONS)) for _ in range(movers)]
        frame = Scene(aspect, ())
        shifts = [self._shift(rng, name, frame) for name in names] + [(0.0, 0.0)] * (len(kinds) - movers)
        things = self._arrange(rng, kinds, frame, shifts)
        first_seen = rng.randrange(1, length) if appears else 0
        frames = []
        for number in range(length):
            done = number / (length - 1)
            shown = [
                replace(t, x=t.x + done * dx, y=t.y + done * dy) for t, (dx, dy) in zip(things, shifts)
            ]
            if appears and number < first_seen:
                del shown[movers]
            frames.append(Scene(aspect, tuple(shown)))
        moves = tuple(Move(kind, name) for kind, name in zip(kinds, names))
        return Clip(tuple(frames), moves, kinds[movers] if appears else None)

    def _family(self, rng: Random, wanted: int) -> list[int]:
        """Kinds of a family: all the same, shapes of one form, or shapes of one colour."""
        size = rng.choices((2, 3, 4, 5, 6), weights=(5, 5, 6, 7, 10))[0]
        size = min(size, wanted)
        bond = rng.choices(("same", "form", "colour"), weights=(6, 2, 2))[0]
        if bond == "same":
            return [self.plain_kind(rng)] * size
        if bond == "form":
            shape, colors = rng.choice(list(SHAPES)), rng.sample(list(COLORS), 2)
            looks = [(shape, colors[0]), (shape, colors[1])]
        else:
            color, shapes = rng.choice(list(COLORS)), rng.sample(list(SHAPES), 2)
            looks = [(shapes[0], color), (shapes[1], color)]
        looks += rng.choices(looks, k=size - 2)
        return [self.by_look[look] for look in looks]

    def _strangers(self, rng: Random, count: int, known: list[int]) -> list[int]:
        kinds: list[int] = []
        while len(kinds) < count:
            kind = self.plain_kind(rng)
            if kind not in known and kind not in kinds:
                kinds.append(kind)
        return kinds

    def _shift(self, rng: Random, direction: str, frame: Scene) -> tuple[float, float]:
        across, down = DIRECTIONS[direction]
        free = (frame.width if across else frame.height) - SIZES[2][0] * SPREAD
        far = rng.uniform(SHORTEST_MOVE, min(free, LONGEST_MOVE))
        return across * far, down * far

    def _arrange(self, rng: Random, kinds: list[int], frame: Scene, shifts: list) -> tuple[Thing, ...]:
        """Things of these kinds, a third of them of each size, where they do not touch; where it is full, smaller ones
        of each. `shifts` [(across, down)] are the ways that must be free before them."""
        thirds = [index % 3 for index in range(len(kinds) // 3 * 3)]
        thirds += rng.sample(range(3), len(kinds) % 3)
        rng.shuffle(thirds)
        for index, kind in enumerate(kinds):
            if self.kinds[kind].text and thirds[index] != 2:  # a sign must be large to be read
                other = thirds.index(2)
                thirds[index], thirds[other] = thirds[other], thirds[index]
        room = 1.0  # how much of each size range is used
        while True:
            things = self._try(rng, kinds, thirds, frame, shifts, room)
            if things:
                return things
            room = max(0.0, room - 0.1)

    def _try(self, rng, kinds, thirds, frame: Scene, shifts, room: float) -> tuple[Thing, ...]:
        things: list[Thing | None] = [None] * len(kinds)
        boxes: list[tuple[float, float, float, float]] = []
        for index in sorted(range(len(kinds)), key=lambda i: -thirds[i]):
            kind, (across, down) = self.kinds[kinds[index]], shifts[index]
            smallest, largest = SIZES[thirds[index]]
            if kind.text:
                smallest = float(smallest_sign(kind.text))
            size = smallest + rng.random() * room * (largest - smallest)
            side = size * (1.0 if kind.text else SPREAD)
            width, height = side + abs(across), side + abs(down)
            if width > frame.width or height > frame.height:
                return ()
            for _ in range(25):
                left, top = rng.uniform(0, frame.width - width), rng.uniform(0, frame.height - height)
                box = (left, top, left + width, top + height)
                if not any(touch(box, other) for other in boxes):
                    break
            else:
                return ()
            boxes.append(box)
            things[index] = Thing(
                left + side / 2 - min(0.0, across), top + side / 2 - min(0.0, down), size, kinds[index],
                tilt=0.0 if kind.text else rng.uniform(-0.15, 0.15),
                mirrored=not kind.text and rng.random() < 0.5,
                brightness=rng.uniform(0.85, 1.08),
                style=rng.random(),
            )
        return tuple(things)


def box_of(thing: Thing) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the square that a thing lies in."""
    half = thing.size / 2
    return thing.x - half, thing.y - half, thing.x + half, thing.y + half


def touch(box: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return (box[0] < other[2] + GAP and other[0] < box[2] + GAP
            and box[1] < other[3] + GAP and other[1] < box[3] + GAP)
