#!/usr/bin/env python3
"""Writes tests/golden/vit: small random CLIP vision towers and their hidden states.

Needs torch, transformers 5 and safetensors, then:  python3 make_vit_golden.py

For each tower NAME/config.json, NAME/model.safetensors (keys below "tower.") and
NAME/expected.safetensors: `pixels` and `states.0` .. `states.N`, the input of the first block and the
output of every block, computed by transformers in float32 from the stored weights.
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModel

FOLDER = pathlib.Path(__file__).parent / "vit"

TOWERS = {
    "quick_gelu_f32": (torch.float32, dict(hidden_size=32, intermediate_size=56, num_hidden_layers=3,
                                           num_attention_heads=4, image_size=30, patch_size=6)),
    "gelu_f16": (torch.float16, dict(hidden_size=36, intermediate_size=52, num_hidden_layers=2,
                                     num_attention_heads=3, image_size=28, patch_size=7,
                                     hidden_act="gelu", layer_norm_eps=1e-6)),
    "defaults_bf16": (torch.bfloat16, dict(hidden_size=24, intermediate_size=48, num_hidden_layers=2,
                                           image_size=32, patch_size=16)),
}


def main() -> None:
    for seed, (name, (dtype, sizes)) in enumerate(TOWERS.items(), start=1):
        torch.manual_seed(seed)
        model = CLIPVisionModel._from_config(CLIPVisionConfig(**sizes), attn_implementation="eager")
        model = model.to(torch.float32).eval()
        with torch.no_grad():
            for key, value in model.named_parameters():
                # Larger than at the start of training, so that every part shows in the result.
                scale = 0.3 if "norm" in key or key.endswith("bias") else value[0].numel() ** -0.5
                value.copy_((torch.randn_like(value) * scale + ("norm" in key and key.endswith("weight"))).to(dtype))
            pixels = torch.randn(1, 3, sizes["image_size"], sizes["image_size"])
            states = model(pixels, output_hidden_states=True).hidden_states
        folder = FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(sizes) + "\n")
        tensors = {
            "tower." + key.removeprefix("vision_model."): value.to(dtype).contiguous()
            for key, value in model.state_dict().items()
            if "post_layernorm" not in key and "position_ids" not in key
        }
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        expected = {f"states.{index}": state[0].contiguous() for index, state in enumerate(states)}
        save_file({"pixels": pixels[0], **expected}, folder / "expected.safetensors")
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    print(f"{FOLDER}: {size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
