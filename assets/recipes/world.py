"""Scenes: which things lie where in a square picture. Everything here is decided by one random.Random."""

from dataclasses import dataclass
from random import Random

from vocabulary import PLACES, Kind

SIDE = 336.0  # pictures are described in pixels of the model's input
BORDER = 8.0  # a thing this close to a line between thirds is at no clear place
MAX_THINGS = 8
MAX_PLAIN_THINGS = 6
SMALLEST, LARGEST = 16.0, 58.0
SIGN_SMALLEST, SIGN_LARGEST = 30.0, 60.0


@dataclass(frozen=True)
class Thing:
    """`radius` is half the side of the square tile that shows the thing; `tilt` is in radians."""

    x: float
    y: float
    radius: float
    kind: int
    tilt: float = 0.0
    mirrored: bool = False
    brightness: float = 1.0
    style: int = 0


def third(value: float) -> int:
    return min(2, int(value * 3 / SIDE))


def cell(thing: Thing) -> int:
    """Index into PLACES of the ninth of the picture that holds the thing's centre."""
    return third(thing.y) * 3 + third(thing.x)


def is_clear(thing: Thing) -> bool:
    """True when nobody could argue about the ninth that the thing lies in."""
    lines = (SIDE / 3, 2 * SIDE / 3)
    return all(abs(value - line) > BORDER for value in (thing.x, thing.y) for line in lines)


def place(thing: Thing) -> str:
    return PLACES[cell(thing)]


class World:
    """Draws random scenes over the given kinds."""

    def __init__(self, kinds: list[Kind]):
        self.kinds = kinds
        self.emoji = [i for i, kind in enumerate(kinds) if kind.code_point]
        self.shapes = [i for i, kind in enumerate(kinds) if kind.shape]
        self.signs = [i for i, kind in enumerate(kinds) if kind.text]
        self.numbers = [i for i in self.signs if kinds[i].text.isdigit()]
        self.words = [i for i in self.signs if not kinds[i].text.isdigit()]
        self.styles = 3

    def plain_kind(self, rng: Random) -> int:
        return rng.choice(self.emoji) if rng.random() < 0.7 else rng.choice(self.shapes)

    def scene(self, rng: Random) -> list[Thing]:
        """One to six plain things, some of them alike, and a sign in every second picture."""
        wanted = rng.randint(1, MAX_PLAIN_THINGS)
        kinds: list[int] = []
        if wanted > 1 and rng.random() < 0.55:
            kinds += [self.plain_kind(rng)] * rng.randint(2, min(5, wanted))
        while len(kinds) < wanted:
            kinds.append(self.plain_kind(rng))

        things: list[Thing] = []
        if rng.random() < 0.5:
            kind = rng.choice(self.numbers if rng.random() < 0.5 else self.words)
            self._put(things, kind, (SIGN_SMALLEST, SIGN_LARGEST), rng)
        for kind in kinds:
            sizes = (SMALLEST, LARGEST) if rng.random() < 0.7 else (SMALLEST, 28.0)
            self._put(things, kind, sizes, rng)
        return things

    def _put(self, things: list[Thing], kind: int, sizes: tuple[float, float], rng: Random) -> None:
        """Add a thing where it hardly touches the others; give up after some tries in a full picture."""
        for _ in range(20):
            radius = rng.uniform(*sizes)
            x, y = rng.uniform(radius, SIDE - radius), rng.uniform(radius, SIDE - radius)
            if all((x - o.x) ** 2 + (y - o.y) ** 2 > (0.9 * (radius + o.radius)) ** 2 for o in things):
                is_sign = bool(self.kinds[kind].text)
                things.append(Thing(
                    x, y, radius, kind,
                    tilt=0.0 if is_sign else rng.uniform(-0.2, 0.2),
                    mirrored=not is_sign and rng.random() < 0.5,
                    brightness=rng.uniform(0.8, 1.1),
                    style=rng.randrange(self.styles) if is_sign else 0,
                ))
                return
