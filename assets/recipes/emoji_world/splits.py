"""Which random numbers belong to which split. No scene of one split is drawn with the numbers of another."""

from random import Random

SPLITS = ("train", "calibration", "development", "test")


def rng_of(split: str, name: str) -> Random:
    """Calibration is for schedules, thresholds and the like, development for all other choices, test for reporting."""
    if split not in SPLITS:
        raise ValueError(f"no split is called {split!r}; there are {', '.join(SPLITS)}")
    return Random(f"emoji world {split} {name}")
