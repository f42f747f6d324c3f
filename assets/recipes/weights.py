"""Half-precision training weights on disk, in parts small enough to be carried about."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

PART_BYTES = 14_000_000


def save_weights(model: nn.Module, name: str, folder: Path) -> None:
    """Half-precision weights in parts of at most PART_BYTES: <name>-0.safetensors, <name>-1.safetensors, ..."""
    parts, size = [{}], 0
    for key, value in model.state_dict().items():
        value = value.half().cpu().contiguous()
        if size + value.nbytes > PART_BYTES:
            parts.append({})
            size = 0
        parts[-1][key] = value
        size += value.nbytes
    for number, part in enumerate(parts):
        save_file(part, folder / f"{name}-{number}.safetensors")


def load_weights(name: str, folder: Path) -> dict[str, torch.Tensor]:
    files = sorted(folder.glob(f"{name}-*.safetensors"))
    if not files:
        raise FileNotFoundError(f"no {name}-*.safetensors in {folder}")
    return {key: value for file in files for key, value in load_file(file).items()}
