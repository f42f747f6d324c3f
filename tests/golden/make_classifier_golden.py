#!/usr/bin/env python3
"""Writes tests/golden/classifier: small random ViT and DeiT classifiers and their logits.

Needs torch, transformers 5 and safetensors, then:  python3 make_classifier_golden.py

For each model NAME/config.json, NAME/preprocessor_config.json, NAME/model.safetensors as transformers
saves them (timm's key names in the folders named timm_*), and NAME/expected.safetensors: `pixels` [2, C,
S, S] and `logits`, `larger_pixels` and `larger_logits` at another picture size (positions resampled by
transformers), all computed in float32 from the stored weights.
"""

import json
import pathlib

import torch
from safetensors.torch import load_file, save_file
from transformers import (DeiTConfig, DeiTForImageClassification, DeiTForImageClassificationWithTeacher, ViTConfig,
                          ViTForImageClassification)

FOLDER = pathlib.Path(__file__).parent / "classifier"
LABELS = {0: "plain", 1: "with, comma", 2: 'with "quotes"', 3: "größer", 4: "last"}

SIZES = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, image_size=24,
             patch_size=6, id2label=LABELS, label2id={name: index for index, name in LABELS.items()})
MODELS = {
    # Five blocks: enough to prune between.
    "vit": (ViTForImageClassification, ViTConfig(**SIZES | {"num_hidden_layers": 5}), torch.float32),
    "vit_no_qkv_bias": (ViTForImageClassification, ViTConfig(**SIZES, qkv_bias=False, hidden_act="relu"),
                        torch.float16),
    "vit_grey": (ViTForImageClassification, ViTConfig(**SIZES, num_channels=1, layer_norm_eps=1e-5), torch.float32),
    "deit": (DeiTForImageClassification, DeiTConfig(**SIZES), torch.bfloat16),
    "deit_teacher": (DeiTForImageClassificationWithTeacher, DeiTConfig(**SIZES), torch.float32),
}


def timm_names(weights: dict[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """The same tensors as timm keeps them: query, key and value in one product."""
    prefix = "deit." if "deit.layernorm.weight" in weights else "vit."
    renamed = {
        "cls_token": weights[prefix + "embeddings.cls_token"],
        "pos_embed": weights[prefix + "embeddings.position_embeddings"],
    }
    if prefix + "embeddings.distillation_token" in weights:
        renamed["dist_token"] = weights[prefix + "embeddings.distillation_token"]
    for end in ("weight", "bias"):
        renamed[f"patch_embed.proj.{end}"] = weights[f"{prefix}embeddings.patch_embeddings.projection.{end}"]
        renamed[f"norm.{end}"] = weights[f"{prefix}layernorm.{end}"]
        if f"classifier.{end}" in weights:
            renamed[f"head.{end}"] = weights[f"classifier.{end}"]
        else:
            renamed[f"head.{end}"] = weights[f"cls_classifier.{end}"]
            renamed[f"head_dist.{end}"] = weights[f"distillation_classifier.{end}"]
        for layer in range(layers):
            old, new = f"{prefix}encoder.layer.{layer}.", f"blocks.{layer}."
            for there, here in (("layernorm_before", "norm1"), ("layernorm_after", "norm2"),
                                ("attention.output.dense", "attn.proj"), ("intermediate.dense", "mlp.fc1"),
                                ("output.dense", "mlp.fc2")):
                renamed[f"{new}{here}.{end}"] = weights[f"{old}{there}.{end}"]
            renamed[f"{new}attn.qkv.{end}"] = torch.cat(
                [weights[f"{old}attention.attention.{part}.{end}"] for part in ("query", "key", "value")])
    return {name: value.contiguous() for name, value in renamed.items()}


def make(name: str, kind: type, config, dtype: torch.dtype) -> None:
    model = kind._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            # Larger than at the start of training, so that every part shows in the result.
            scale = 0.3 if "norm" in key or key.endswith("bias") else value[0].numel() ** -0.5
            if "embeddings" in key and "projection" not in key:
                scale = 1.0
            value.copy_((torch.randn_like(value) * scale + ("norm" in key and key.endswith("weight"))).to(dtype))
        side, channels = config.image_size, config.num_channels
        expected = {}
        for prefix, pixels in (("", torch.randn(2, channels, side, side)),
                               ("larger_", torch.randn(2, channels, side + 12, side + 12))):
            expected[prefix + "pixels"] = pixels
            expected[prefix + "logits"] = model(pixels, interpolate_pos_encoding=bool(prefix)).logits.contiguous()
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    model.to(dtype).save_pretrained(folder)
    save_file(expected, folder / "expected.safetensors")
    steps = {"image_processor_type": f"{type(config).__name__.removesuffix('Config')}ImageProcessor",
             "size": {"height": side, "width": side}, "do_center_crop": False}
    if channels == 1:
        steps |= {"image_mean": [0.5], "image_std": [0.25]}
    (folder / "preprocessor_config.json").write_text(json.dumps(steps) + "\n")

    if name not in ("vit", "deit_teacher"):
        return
    other = FOLDER / f"timm_{name}"
    other.mkdir(parents=True, exist_ok=True)
    save_file(timm_names(load_file(folder / "model.safetensors"), config.num_hidden_layers),
              other / "model.safetensors", metadata={"format": "pt"})
    save_file(expected, other / "expected.safetensors")
    (other / "config.json").write_text(json.dumps({
        "architecture": "vit_mini_patch6_24", "num_classes": len(LABELS), "label_names": list(LABELS.values()),
        "model_args": {"num_heads": config.num_attention_heads},
        "pretrained_cfg": {"input_size": [3, side, side], "interpolation": "bicubic", "crop_pct": 0.9,
                           "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    }, indent=1) + "\n")


def main() -> None:
    for seed, (name, (kind, config, dtype)) in enumerate(MODELS.items(), start=1):
        torch.manual_seed(seed)
        # timm's norms use 1e-6, whatever its configuration says.
        if name in ("vit", "deit_teacher"):
            config.layer_norm_eps = 1e-6
        make(name, kind, config, dtype)
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    print(f"{FOLDER}: {size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
