"""Emoji World: the harder world of pictures, clips and questions that pruning is measured with. README.md explains."""

from pathlib import Path

MADE = Path(__file__).resolve().parents[3] / "build/emoji_world"  # where scripts put, and look for, what they make
