"""fovea-vit: a small classifier that names one emoji in a cluttered scene, and learns which patches to drop.
README.md explains."""

from pathlib import Path

MADE = Path(__file__).resolve().parents[3] / "build/fovea_vit"  # where scripts put, and look for, what they make
