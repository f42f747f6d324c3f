"""Write a trained model as a Hugging Face LLaVA-1.5 directory: float16 safetensors, configs, tokenizer.

    python export.py --model base --weights checkpoints --tokenizer tokenizer.model --out ../models/fovea-base

Models of Emoji World take --pad (pictures are padded to a square, not cropped) and --context 6144 (room for clips).
Without --weights the model is written with random weights, which is enough to build an engine against.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import (CLIPImageProcessor, CLIPVisionConfig, GenerationConfig, LlamaConfig, LlamaTokenizerFast,
                          LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.tokenization_utils_base import generate_merges

from model import GRID, IMAGE_SIZE, PATCH, ROPE_THETA, SIZES, Llava, Size
from tokenizer import BOS, EOS, Tokenizer
from weights import load_weights

SHARD = "14MB"
CONTEXT = 2048
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}"
    "{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' ' }}{% endfor %}"
    "{% else %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + '</s>' }}{% endgeneration %}{% endfor %}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def llava_config(size: Size, tokenizer: Tokenizer, context: int) -> LlavaConfig:
    vision = CLIPVisionConfig(
        hidden_size=size.vision_width, intermediate_size=size.vision_mlp, num_hidden_layers=size.vision_blocks,
        num_attention_heads=size.vision_heads, image_size=IMAGE_SIZE, patch_size=PATCH,
        projection_dim=size.vision_width, hidden_act="quick_gelu", layer_norm_eps=1e-5,
    )
    text = LlamaConfig(
        vocab_size=tokenizer.vocab, hidden_size=size.width, intermediate_size=size.mlp, num_hidden_layers=size.layers,
        num_attention_heads=size.heads, num_key_value_heads=size.kv_heads, max_position_embeddings=context,
        rms_norm_eps=1e-5, rope_theta=ROPE_THETA, hidden_act="silu", bos_token_id=BOS, eos_token_id=EOS,
        tie_word_embeddings=True,
    )
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=tokenizer.image, projector_hidden_act="gelu",
        vision_feature_layer=-2, vision_feature_select_strategy="default", image_seq_length=GRID * GRID,
        tie_word_embeddings=True,
    )


def to_transformers(name: str) -> str:
    """Name of a parameter inside transformers' LlavaForConditionalGeneration."""
    name = name.replace("vision_tower.vision_model.", "vision_tower.")
    return "model." + name.replace("language_model.model.", "language_model.")


def write_weights(name: str, tokenizer: Tokenizer, weights: Path | None, out: Path, context: int = CONTEXT) -> None:
    size = SIZES[name]
    config = llava_config(size, tokenizer, context)
    torch.manual_seed(0)
    state = load_weights(name, weights) if weights else Llava(size, tokenizer.vocab, tokenizer.prefix, 1).state_dict()
    state = {to_transformers(key): value.half() for key, value in state.items() if not key.startswith("patch_head")}
    model = LlavaForConditionalGeneration(config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or set(missing) != {"lm_head.weight"}:
        raise ValueError(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    model = model.half()
    model.generation_config = GenerationConfig(bos_token_id=BOS, eos_token_id=EOS, pad_token_id=0, do_sample=False)
    for old in out.glob("*.safetensors*"):
        old.unlink()
    model.save_pretrained(out, max_shard_size=SHARD)
    for file in out.glob("*.safetensors"):
        file.chmod(0o644)


def write_processor(tokenizer_file: Path, out: Path, context: int = CONTEXT, pad: bool = False) -> None:
    pieces = Tokenizer(tokenizer_file).model
    vocabulary = {pieces.id_to_piece(i): i for i in range(pieces.vocab_size())}
    tokenizer = LlamaTokenizerFast(
        vocab=vocabulary, merges=generate_merges(vocabulary), legacy=True, padding_side="left",
        unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>", add_bos_token=True,
        add_eos_token=False, model_max_length=context, extra_special_tokens={"image_token": "<image>"},
    )
    sizes = {"size": {"shortest_edge": IMAGE_SIZE}, "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE}}
    kept = {**sizes, "resample": 3}
    images = LlavaImageProcessorPil(**kept, do_pad=True) if pad else CLIPImageProcessor(**kept)
    processor = LlavaProcessor(
        images, tokenizer, patch_size=PATCH, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=CHAT_TEMPLATE,
    )
    processor.save_pretrained(out)
    kind = {"image_processor_type": "LlavaImageProcessor" if pad else "CLIPImageProcessor"}
    saved = json.loads((out / "processor_config.json").read_text())
    write_json(out / "processor_config.json", {**saved, "image_processor": {**saved["image_processor"], **kind}})
    shutil.copyfile(tokenizer_file, out / "tokenizer.model")
    # transformers 5 folds the next files into others; readers of LLaVA-1.5 checkpoints expect them.
    write_json(out / "preprocessor_config.json",
               {**images.to_dict(), **kind, "processor_class": "LlavaProcessor"})
    write_json(out / "special_tokens_map.json", {
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>", "image_token": "<image>",
    })
    config = json.loads((out / "tokenizer_config.json").read_text())
    write_json(out / "tokenizer_config.json", {**config, "legacy": True, "chat_template": CHAT_TEMPLATE})


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(SIZES), required=True)
    parser.add_argument("--weights", type=Path, help="folder that train.py wrote")
    parser.add_argument("--tokenizer", type=Path, default=Path("tokenizer.model"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pad", action="store_true")
    parser.add_argument("--context", type=int, default=CONTEXT)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write_weights(options.model, Tokenizer(options.tokenizer), options.weights, options.out, options.context)
    write_processor(options.tokenizer, options.out, options.context, options.pad)


if __name__ == "__main__":
    main()
