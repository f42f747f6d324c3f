"""What the world is made of: names of things, colours, shapes, places, and the texts of signs."""

from dataclasses import dataclass

import vocabulary as first_world

COLORS = first_world.COLORS
SHAPES = first_world.SHAPES
PLACES = (
    "top left", "top center", "top right", "middle left", "center", "middle right",
    "bottom left", "bottom center", "bottom right",
)
# Names of the first world that people could argue about here: houses have doors and windows, cars have wheels, a
# volcano and a candle are on fire, and a wall of bricks looks like a background.
LEFT_OUT = ("door", "window", "wheel", "fire", "brick wall")
PLURALS = {"snowman": "snowmen"}
SIGN_WORDS = first_world.SIGN_WORDS + tuple(
    "ART BAR BED BIG BOX CAR CUP DAY EGG END FUN HAT ICE JAM KEY LAW MAP NEW OLD PET RUN SEA SKY SUN TOP TOY VET WAY "
    "WIN YES ZIP BALL BIRD CAKE COLD DESK EASY FISH GAME GOLD HELP HOME JAZZ KING LIFT LOVE MAIL MOON NEWS NOTE PIZZA "
    "PLAY QUIZ RENT RICE ROOM ROSE SALT SHOE SNOW SOAP STAR TEAM TOUR TREE WAIT WALK WINE YOGA".split()
)
SIGN_WORDS = tuple(dict.fromkeys(SIGN_WORDS))
SIGN_NUMBERS = tuple(str(number) for number in range(10, 100)) + tuple(str(number) for number in range(103, 1000, 23))
# Side in pixels of the 336 px input, by length of text, from which a sign's capitals are CAP_HEIGHT pixels high.
CAP_HEIGHT = 24
SMALLEST_SIGN = {2: 70, 3: 92, 4: 116, 5: 126}

# (general name, special names): nobody is asked about the general one in a picture that shows a special one.
COVERED_BY = {
    "tree": ("pine tree", "palm tree", "Christmas tree"), "car": ("police car", "taxi"), "truck": ("fire truck",),
    "tent": ("circus tent",), "clock": ("alarm clock", "watch"), "ring": ("diamond ring", "life ring"),
    "diamond": ("gem", "diamond ring"), "cross": ("hospital", "church", "ambulance"), "fish": ("fishing pole",),
    "pair of glasses": ("pair of sunglasses",), "bow": ("bow and arrow", "gift", "teddy bear"),
    "computer": ("laptop",), "keyboard": ("laptop", "computer", "piano"), "telephone": ("cell phone",),
    "box": ("gift", "box of fries", "box of popcorn", "toolbox", "mailbox"), "candle": ("birthday cake",),
    "chair": ("wheelchair",), "star": ("magic wand", "Christmas tree"), "circle": ("target", "disc"),
    "coconut": ("palm tree",), "snowflake": ("snowman",), "rose": ("potted plant",), "drum": ("banjo",),
    "boot": ("ice skate", "roller skate"), "strawberry": ("slice of cake",), "bucket": ("basket",),
}


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
    kinds = [
        Kind(kind.name, PLURALS.get(kind.name, kind.plural), kind.code_point, kind.color, kind.shape)
        for kind in first_world.load_kinds() if not kind.text and kind.name not in LEFT_OUT
    ]
    return kinds + [Kind("sign", "signs", text=text) for text in SIGN_NUMBERS + SIGN_WORDS]


def smallest_sign(text: str) -> int:
    """Side in pixels of the input from which the sign can be read."""
    return SMALLEST_SIGN[len(text)]


def with_article(name: str) -> str:
    """`owl` becomes `an owl`. Written for the names of this world, where spelling is nearly enough."""
    vowel = name[0] in "aeiou" and not name.startswith("unicorn") or name == "hourglass"
    return ("an " if vowel else "a ") + name


def listed(parts: list[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
