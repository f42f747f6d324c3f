"""Small random LLaVA checkpoints in every layout found in the wild.

A checkpoint made here is a model folder like any other: config.json, safetensors (one file or
shards), tokenizer.model, preprocessor settings. `Recipe` says which of the many layouts it takes;
`write_checkpoint` writes it. The weights are random but scaled so that attention is far from
uniform and the most likely token leads by a real margin: a wrong mask, rotation or head mapping
then changes the result by much more than rounding does.

Used by make_llava_golden.py (fixed seeds, stored results) and parity.py --random (fresh seeds).
"""

import dataclasses
import io
import json
import math
import random
import shutil
import tempfile
from pathlib import Path

import numpy
import sentencepiece
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

PATCH_SIZE = 14

# The three ways in which the tensors of one and the same model are called. "saved" is what
# transformers 5 writes, "published" what the LLaVA-1.5 files on the Hugging Face hub use, "memory"
# what the state dictionary of a running model shows.
NAMINGS = ("published", "saved", "memory")


@dataclasses.dataclass
class Recipe:
    """One checkpoint: sizes, options and the layout of its files."""

    name: str
    seed: int
    naming: str = "published"  # one of NAMINGS
    dtype: str = "float16"  # how weights are stored
    shards: int = 1
    config_generation: int = 4  # of transformers: 4 (fields at their default left out) or 5 (all)

    hidden_size: int = 48
    intermediate_size: int = 96
    layers: int = 3
    heads: int = 4
    kv_heads: int = 4
    head_dim: int | None = None  # None: hidden_size / heads
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    tied: bool = False
    attention_bias: bool = False

    image_size: int = 56
    vision_hidden_size: int = 32
    vision_intermediate_size: int = 64
    vision_layers: int = 4
    vision_heads: int = 2
    vision_act: str = "quick_gelu"
    feature_layer: int = -2
    feature_select: str = "default"
    projector_bias: bool = True

    def describe(self):
        groups = "MHA" if self.heads == self.kv_heads else f"GQA {self.heads}/{self.kv_heads}"
        parts = [f"{self.naming} names", groups, self.dtype, f"config of transformers {self.config_generation}"]
        if self.shards > 1:
            parts.append(f"{self.shards} shards")
        if self.tied:
            parts.append("tied embeddings")
        if self.head_dim:
            parts.append(f"head_dim {self.head_dim}")
        if self.attention_bias:
            parts.append("attention biases")
        if self.feature_select != "default":
            parts.append("class token kept")
        if self.image_size > 56:
            parts.append(f"{visual_tokens(self)} visual tokens")
        return ", ".join(parts)


# ---- Tokenizer ---------------------------------------------------------------------------------

SENTENCES = """what is in the picture? the cat sat on the mat. a red ball is left of the box.
how many dogs are there? two dogs and one bird. is there a tree in the image? yes, no.
where is the blue cup? USER: ASSISTANT: top right, at the bottom, near the house.
describe the first image and the second image in one short answer.""".split("\n")


def train_tokenizer():
    """A SentencePiece BPE model of 300 pieces with byte fallback, as bytes; settings as Llama's."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        model_type="bpe",
        vocab_size=300,
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


# ---- Pictures ----------------------------------------------------------------------------------


def random_picture(seed, width, height):
    """A picture with slopes, edges and grain, so that every resampling mistake shows."""
    generator = numpy.random.default_rng(seed)
    x, y = numpy.meshgrid(numpy.linspace(0, 1, width), numpy.linspace(0, 1, height))
    slopes = generator.uniform(-160, 160, size=(3, 2))
    field = numpy.stack([128 + a * (x - 0.5) + b * (y - 0.5) for a, b in slopes], axis=-1)
    field += generator.normal(0, 6, size=field.shape)
    picture = Image.fromarray(numpy.clip(field, 0, 255).astype(numpy.uint8), "RGB")
    draw = ImageDraw.Draw(picture)
    for _ in range(5):
        left, top = generator.uniform(0, 0.8) * width, generator.uniform(0, 0.8) * height
        box = [left, top, left + generator.uniform(0.1, 0.5) * width, top + generator.uniform(0.1, 0.5) * height]
        colour = tuple(int(c) for c in generator.integers(0, 256, size=3))
        (draw.ellipse if generator.random() < 0.5 else draw.rectangle)(box, fill=colour)
    return picture


# ---- Weights -----------------------------------------------------------------------------------


def scale_of(name, tensor, tied):
    """Standard deviation of a weight. Queries and keys are large enough for scores of spread ~2."""
    inputs = math.prod(tensor.shape[1:]) if tensor.dim() > 1 else tensor.shape[0]
    if "position_embedding" in name:
        return 0.5
    if "embed_tokens" in name:
        return 0.2 if tied else 1.0  # small: a tied model would else repeat its last token
    if "lm_head" in name:
        return 3.0 / math.sqrt(inputs)
    if "q_proj" in name or "k_proj" in name:
        return 1.5 / math.sqrt(inputs)
    if "o_proj" in name or "out_proj" in name or "down_proj" in name or "fc2" in name:
        return 0.8 / math.sqrt(inputs)
    return 1.0 / math.sqrt(inputs)


@torch.no_grad()
def randomise(model, pieces, seed, tied):
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.named_parameters():  # a tied lm_head appears once, as embed_tokens
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("class_embedding"):
            tensor.copy_(noise)
        elif "norm" in name and name.endswith("weight"):  # "pre_layrnorm" included
            tensor.copy_(1 + 0.2 * noise)
        elif name.endswith("bias"):
            tensor.copy_(0.2 * noise)
        else:
            tensor.copy_(noise * scale_of(name, tensor, tied))
    # Faint output rows for <unk>, <s>, </s> and the ids past the pieces: greedy text then runs on
    # instead of ending by chance.
    rows = model.get_output_embeddings().weight
    rows[:3] *= 0.05
    rows[pieces:] *= 0.05


# ---- Configuration -----------------------------------------------------------------------------


def model_config(recipe, pieces):
    """Vocabulary as llava-hf lays it out: pieces, then <image>, <pad> and unused rows."""
    text = LlamaConfig(
        vocab_size=pieces + 4,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        head_dim=recipe.head_dim,
        max_position_embeddings=2048 if recipe.image_size > 56 else 512,
        rms_norm_eps=recipe.rms_norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": recipe.rope_theta},
        tie_word_embeddings=recipe.tied,
        attention_bias=recipe.attention_bias,
    )
    vision = CLIPVisionConfig(
        hidden_size=recipe.vision_hidden_size,
        intermediate_size=recipe.vision_intermediate_size,
        projection_dim=recipe.vision_hidden_size,
        num_hidden_layers=recipe.vision_layers,
        num_attention_heads=recipe.vision_heads,
        image_size=recipe.image_size,
        patch_size=PATCH_SIZE,
        hidden_act=recipe.vision_act,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=pieces,
        image_seq_length=visual_tokens(recipe),
        vision_feature_layer=recipe.feature_layer,
        vision_feature_select_strategy=recipe.feature_select,
        multimodal_projector_bias=recipe.projector_bias,
        tie_word_embeddings=recipe.tied,
    )


def visual_tokens(recipe):
    return (recipe.image_size // PATCH_SIZE) ** 2 + (1 if recipe.feature_select == "full" else 0)


def without_defaults(values, defaults, always):
    return {k: v for k, v in values.items() if k in always or k not in defaults or defaults[k] != v}


def published_config(config, recipe, pieces):
    """config.json as transformers 4 wrote it: whatever equals its class's default is absent."""
    text = without_defaults(config.text_config.to_dict(), LlamaConfig().to_dict(), {"model_type", "vocab_size"})
    for field in ("rope_parameters", "transformers_version", "dtype"):
        text.pop(field, None)
    if recipe.head_dim is None:
        text.pop("head_dim", None)
    if recipe.kv_heads == recipe.heads:
        text.pop("num_key_value_heads", None)
    if recipe.rope_theta != 10000.0:
        text["rope_theta"] = recipe.rope_theta
    text.update({"architectures": ["LlamaForCausalLM"], "torch_dtype": recipe.dtype})

    vision = without_defaults(config.vision_config.to_dict(), CLIPVisionConfig().to_dict(), {"model_type"})
    for field in ("transformers_version", "dtype"):
        vision.pop(field, None)
    vision["vocab_size"] = 32000  # means nothing, but the published files have it

    top = {
        "architectures": ["LlavaForConditionalGeneration"],
        "ignore_index": -100,
        "image_token_index": pieces,
        "model_type": "llava",
        "pad_token_id": pieces + 1,
        "projector_hidden_act": "gelu",
        "text_config": text,
        "tie_word_embeddings": recipe.tied,
        "torch_dtype": recipe.dtype,
        "transformers_version": "4.36.0.dev0",
        "vision_config": vision,
        "vision_feature_layer": recipe.feature_layer,
        "vision_feature_select_strategy": recipe.feature_select,
        "vocab_size": config.text_config.vocab_size,
    }
    if not recipe.projector_bias:
        top["multimodal_projector_bias"] = False
    return top


def image_processor_settings(recipe):
    return {
        "crop_size": {"height": recipe.image_size, "width": recipe.image_size},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "CLIPImageProcessor",
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": recipe.image_size},
    }


# ---- Files -------------------------------------------------------------------------------------


def published_names(tensors, recipe):
    """transformers 5's names to the published ones, with the buffers old files also carry."""
    renamed = {}
    for name, tensor in tensors.items():
        if name.startswith("vision_tower.") and not name.startswith("vision_tower.vision_model."):
            name = name.replace("vision_tower.", "vision_tower.vision_model.", 1)
        renamed[name] = tensor
    positions = visual_tokens(recipe) + (1 if recipe.feature_select == "default" else 0)
    renamed["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(positions)[None]
    head_dim = recipe.head_dim or recipe.hidden_size // recipe.heads
    frequencies = recipe.rope_theta ** -(torch.arange(0, head_dim, 2).float() / head_dim)
    for layer in range(recipe.layers):
        key = f"language_model.model.layers.{layer}.self_attn.rotary_emb.inv_freq"
        renamed[key] = frequencies.clone()
    return renamed


def memory_names(tensors):
    renamed = {}
    for name, tensor in tensors.items():
        if name == "language_model.lm_head.weight":
            name = "lm_head.weight"
        elif name.startswith("language_model.model."):
            name = name.replace("language_model.model.", "model.language_model.", 1)
        else:
            name = "model." + name
        renamed[name] = tensor
    return renamed


def write_weights(folder, tensors, shards):
    """model.safetensors, or numbered shards and their index as Hugging Face lays them out."""
    names = sorted(tensors)
    if shards == 1:
        save_file({n: tensors[n] for n in names}, folder / "model.safetensors", metadata={"format": "pt"})
        return
    index = {"metadata": {"total_size": sum(t.numel() * t.element_size() for t in tensors.values())}, "weight_map": {}}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard::shards]  # interleaved, so that every layer is spread over the files
        save_file({n: tensors[n] for n in part}, folder / file, metadata={"format": "pt"})
        index["weight_map"].update({n: file for n in part})
    index["weight_map"] = dict(sorted(index["weight_map"].items()))
    write_json(folder / "model.safetensors.index.json", index)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_checkpoint(recipe, folder, tokenizer_bytes):
    """Writes the whole model folder, replacing what was there."""
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=tokenizer_bytes).get_piece_size()
    config = model_config(recipe, pieces)
    model = LlavaForConditionalGeneration(config)
    randomise(model, pieces, recipe.seed, recipe.tied)
    model.to(getattr(torch, recipe.dtype))

    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        tensors = load_file(Path(scratch) / "model.safetensors")
        saved_config = json.loads((Path(scratch) / "config.json").read_text())
    if recipe.naming == "published":
        tensors = published_names(tensors, recipe)
    elif recipe.naming == "memory":
        tensors = memory_names(tensors)
    write_weights(folder, tensors, recipe.shards)

    if recipe.config_generation == 4:
        write_json(folder / "config.json", published_config(config, recipe, pieces))
        write_json(folder / "preprocessor_config.json", image_processor_settings(recipe))
    else:
        if recipe.naming == "memory":  # the field's other spelling
            saved_config["image_token_id"] = saved_config.pop("image_token_index")
        write_json(folder / "config.json", saved_config)
        processor = {"image_processor": image_processor_settings(recipe), "processor_class": "LlavaProcessor"}
        processor.update({"image_token": "<image>", "patch_size": PATCH_SIZE, "num_additional_image_tokens": 1})
        processor["vision_feature_select_strategy"] = recipe.feature_select
        write_json(folder / "processor_config.json", processor)
    write_json(
        folder / "generation_config.json",
        {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": pieces + 1},
    )
    (folder / "tokenizer.model").write_bytes(tokenizer_bytes)


def random_recipes(seed, count):
    """Unseen combinations; every naming, both head layouts, shards and storage types come round."""
    choose = random.Random(seed)
    recipes = []
    for index in range(count):
        heads = choose.choice([2, 4, 6])
        kv_heads = heads if index % 2 == 0 else choose.choice([k for k in (1, 2, 3) if heads % k == 0 and k < heads])
        full_size = index % 5 == 3  # pictures and heads as large as LLaVA-1.5's
        head_dim = choose.choice([64, 128] if full_size else [8, 12, 16, 20])
        vision_heads = choose.choice([1, 2, 3])
        recipes.append(
            Recipe(
                name=f"random-{seed}-{index}",
                seed=choose.randrange(1 << 30),
                naming=NAMINGS[index % 3],
                dtype=("float16", "float32", "bfloat16")[(index // 2) % 3],
                shards=choose.choice([2, 3]) if index % 4 >= 2 else 1,
                config_generation=5 if (index // 3) % 2 else 4,
                hidden_size=heads * head_dim,
                intermediate_size=choose.choice([80, 96, 136]),
                layers=choose.choice([2, 3, 5]),
                heads=heads,
                kv_heads=kv_heads,
                head_dim=None if full_size else choose.choice([None, 2 * head_dim]),
                rope_theta=choose.choice([10000.0, 500000.0]),
                rms_norm_eps=choose.choice([1e-5, 1e-6]),
                tied=index % 5 == 4,
                attention_bias=index % 7 == 5,
                image_size=336 if full_size else 56,
                vision_hidden_size=vision_heads * (64 if full_size else choose.choice([12, 16, 32])),
                vision_layers=choose.choice([2, 3, 4]),
                vision_heads=vision_heads,
                vision_act=choose.choice(["quick_gelu", "gelu"]),
                feature_layer=choose.choice([-2, -1]),
                feature_select="full" if index % 6 == 3 else "default",
                projector_bias=index % 8 != 6,
            )
        )
    return recipes
