"""Is a held-out set what it should be? What can be answered without looking, and how the pictures are made up."""

from collections import Counter, defaultdict

from emoji_world.heldout import HeldOut, frames_of
from emoji_world.questions import VALUES
from emoji_world.render import GRID
from emoji_world.world import ASPECTS, FEWEST, MOST, PATCH, SIZES, Clip, place_index

PREDICATES = ("exists", "left", "right", "above", "below")
YES_SHARE = (0.45, 0.55)
UNEVEN = 0.06  # how far a share may lie from the even one
CLOSED = ("where", "colour", "count", "total", "motion")  # categories whose answers should be even


def shares(counts: Counter, keys) -> dict:
    total = max(1, sum(counts[key] for key in keys))
    return {key: counts[key] / total for key in keys}


def listed(values: dict) -> str:
    return ", ".join(f"{key} {value:.3f}" for key, value in values.items())


def report(held_out: HeldOut) -> tuple[list[str], list[str]]:
    """Lines to print, and what is wrong."""
    answers = defaultdict(Counter)
    for asked in held_out.asked:
        answers[asked.question.category][asked.question.answer] += 1
    lines, faults = ["category     questions  majority answer"], []
    for category, counts in answers.items():
        answer, number = counts.most_common(1)[0]
        total = sum(counts.values())
        lines.append(f"{category:12} {total:9}  {number / total:.3f} {answer[:40]}")
        if category in PREDICATES:
            yes = counts["Yes"] / total
            if not YES_SHARE[0] <= yes <= YES_SHARE[1]:
                faults.append(f"{category}: {yes:.3f} of the answers are Yes")
        if category in CLOSED:
            values = [value[0].upper() + value[1:] for value in VALUES[category]]
            faults += even(category, shares(counts, values))
    total = sum(sum(counts.values()) for counts in answers.values())
    best = sum(counts.most_common(1)[0][1] for counts in answers.values())
    lines.append(f"{'all':12} {total:9}  {best / total:.3f}")

    pictures = [seen for seen in held_out.seen if not isinstance(seen, Clip)]
    things = [(thing, picture) for picture in pictures for thing in picture.things]
    sizes = Counter(sum(thing.size >= largest for _, largest in SIZES) for thing, _ in things)
    for name, values in (
        ("aspect", shares(Counter(picture.aspect for picture in pictures), list(ASPECTS))),
        ("things", shares(Counter(len(picture.things) for picture in pictures), range(FEWEST, MOST + 1))),
        ("size", shares(sizes, range(len(SIZES)))),
        ("ninth", shares(Counter(place_index(thing, picture) for thing, picture in things), range(9))),
    ):
        lines.append(f"{name:12} {listed(values)}")
        faults += even(name, values)
    too_small = [thing for thing, _ in things if thing.size < SIZES[0][0] - 1e-6 or thing.size > 10 * PATCH]
    if too_small:
        faults.append(f"size: {len(too_small)} things are outside the sizes")
    rows = Counter(cell % (GRID * GRID) // GRID // 8 for asked in held_out.asked for cell in asked.evidence)
    count = sorted(len(asked.evidence) for asked in held_out.asked if asked.evidence)
    frames = sum(len(frames_of(seen)) for seen in held_out.seen)
    lines.append(f"evidence     {len(count)} questions, median {count[len(count) // 2]} cells, largest {count[-1]}; "
                 f"by third of the rows {listed(shares(rows, range(3)))}")
    lines.append(f"{len(pictures)} pictures, {len(held_out.seen) - len(pictures)} clips, {frames} files")
    return lines, faults


def even(name: str, values: dict) -> list[str]:
    return [f"{name}: {key} has a share of {value:.3f}" for key, value in values.items()
            if abs(value - 1 / len(values)) > UNEVEN]
