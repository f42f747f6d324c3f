"""What the world is made of: names of things, colours, shapes, places and the words on signs."""

from dataclasses import dataclass
from pathlib import Path

NAMES_FILE = Path(__file__).with_name("names.tsv")

COLORS = {
    "red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 220), "yellow": (235, 215, 50),
    "purple": (140, 60, 170), "orange": (240, 140, 30), "cyan": (50, 200, 210), "pink": (245, 150, 190),
}
SHAPES = {
    "circle": "circles", "square": "squares", "triangle": "triangles",
    "ring": "rings", "cross": "crosses", "diamond": "diamonds",
}
PLACES = (
    "top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right",
)
SIGN_WORDS = tuple(
    "STOP GO EXIT OPEN SALE CAFE PARK HOTEL TAXI BUS BANK BOOK MILK TEA FIRE DOOR LEFT RIGHT UP DOWN "
    "NORTH SOUTH EAST WEST ONE TWO THREE FOUR FIVE SIX HELLO WORLD START END PUSH PULL COLD HOT WET DRY "
    "SLOW FAST SAFE FREE FULL ZOO POOL FARM LAKE ROAD CITY BIKE BOAT GYM SPA PUB DELI FOOD SHOP".split()
)
SIGN_NUMBERS = tuple(str(number) for number in range(10, 100))
# (board, text) colours; every text is drawn in every style.
SIGN_STYLES = (
    ((250, 250, 245), (20, 20, 20)), ((250, 210, 60), (25, 25, 25)), ((30, 90, 170), (250, 250, 250)),
)


@dataclass(frozen=True)
class Kind:
    """One kind of thing. `color` and `shape` are set for geometric shapes, `text` for signs."""

    name: str
    plural: str
    code_point: str = ""
    color: str = ""
    shape: str = ""
    text: str = ""


def load_kinds() -> list[Kind]:
    """All kinds in a fixed order: emoji, then coloured shapes, then sign texts."""
    kinds = []
    for line in NAMES_FILE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            code_point, name, plural = line.split("\t")
            kinds.append(Kind(name, plural, code_point=code_point))
    for shape, plural in SHAPES.items():
        for color in COLORS:
            kinds.append(Kind(f"{color} {shape}", f"{color} {plural}", color=color, shape=shape))
    for text in SIGN_NUMBERS + SIGN_WORDS:
        kinds.append(Kind("sign", "signs", text=text))
    return kinds


def with_article(name: str) -> str:
    """`owl` becomes `an owl`. Written for the names of this world, where spelling is enough."""
    return ("an " if name[0] in "aeiou" and not name.startswith("unicorn") else "a ") + name
