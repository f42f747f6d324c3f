"""Write a trained fovea-vit as a model folder: timm's tensor names and configuration, thresholds included.

    python -m fovea_vit.export --out ../models/fovea-vit
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from fovea_vit import MADE
from fovea_vit.model import Size
from fovea_vit.render import MEAN, STD
from fovea_vit.scenes import labels


def configuration(size: Size, names: list[str]) -> dict:
    return {
        "architecture": "vit_fovea_patch16_224",
        "num_classes": len(names),
        "label_names": names,
        "global_pool": "token",
        "model_args": {"embed_dim": size.width, "depth": size.depth, "num_heads": size.heads, "mlp_ratio": size.ratio},
        "pretrained_cfg": {"input_size": [3, size.side, size.side], "interpolation": "bicubic", "crop_pct": 1.0,
                           "mean": list(MEAN), "std": list(STD), "num_classes": len(names)},
    }


def export(checkpoint: Path, folder: Path, allow_untrained: bool) -> None:
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if not state["done"] and not allow_untrained:
        raise SystemExit(f"{checkpoint} is half trained: run its stage to the end")
    folder.mkdir(parents=True, exist_ok=True)
    # Thresholds differ by less than half precision tells apart.
    tensors = {name: (value.float() if "keep_threshold" in name else value.half()).contiguous()
               for name, value in state["model"].items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(configuration(Size(), labels()), indent=1) + "\n")
    size = sum(value.numel() for value in tensors.values())
    print(f"{folder}: {size / 1e6:.2f} M parameters")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=MADE / "thresholds.pt")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--allow-untrained", action="store_true", help="for trying the path out")
    options = parser.parse_args()
    export(options.checkpoint, options.out, options.allow_untrained)


if __name__ == "__main__":
    main()
