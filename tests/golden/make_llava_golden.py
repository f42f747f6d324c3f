"""Makes tests/golden/llava: small random LLaVA checkpoints and what transformers answers with them.

    python3 tests/golden/make_llava_golden.py            (needs torch, transformers 5, sentencepiece,
                                                          Pillow, safetensors, numpy)

Running it again with the same library versions gives the same files. For each checkpoint it writes

    NAME/                      a model folder (see tests/parity/random_llava.py for the layouts)
    NAME/expected.safetensors  per case ("one" picture, "two", "none"):
        CASE.prompt_ids        int32 [prompt]: the placeholder repeated once per visual token
        CASE.image_features    float32 [pictures, visual tokens, hidden], projected
        CASE.logits            float32 [17, vocabulary]: row 0 follows the prompt, row t the t-th
                               greedy token
        CASE.greedy_ids        int32 [17]: the most likely token of each row
        CASE.margins           float32 [17]: its lead over the second
      and, in the metadata, "cases": JSON {CASE: {prompt: with `<image>` marks, pictures: [file]}}
    pictures/*.png             and pixels.safetensors: each picture as the tower sees it

The reference runs in float32 with eager attention from the stored weights, widened; it runs the
whole text for every token, without a cache.
"""

import argparse
import json
import sys
from pathlib import Path

import sentencepiece
import torch
from PIL import Image
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "parity"))
from random_llava import Recipe, random_picture, train_tokenizer, visual_tokens, write_checkpoint  # noqa: E402
from reference import Reference, margins  # noqa: E402

ROWS = 17  # the prompt's row and 16 greedy steps

PICTURES = {"wide.png": (3, 90, 64), "small.png": (8, 40, 52)}  # seed, width, height

CASES = {
    "one": ("USER: <image>\nwhat is in the picture? ASSISTANT:", ["wide.png"]),
    "two": ("USER: <image>\nthe first image and <image> two: where is the cat? ASSISTANT:", ["wide.png", "small.png"]),
    "none": ("the cat sat on the", []),
}

RECIPES = [
    Recipe("mha-published-f16", seed=11),
    Recipe(
        "gqa-saved-f32",
        seed=23,
        naming="saved",
        dtype="float32",
        config_generation=5,
        heads=4,
        kv_heads=2,
        hidden_size=32,
        intermediate_size=72,
        rms_norm_eps=1e-6,
        vision_hidden_size=24,
        vision_act="gelu",
    ),
    Recipe(
        "gqa-memory-bf16-sharded",
        seed=37,
        naming="memory",
        dtype="bfloat16",
        config_generation=5,
        shards=3,
        heads=6,
        kv_heads=2,
        attention_bias=True,
    ),
    Recipe("tied-published-f16", seed=41, tied=True, heads=4, kv_heads=1, head_dim=20, rope_theta=500000.0, rms_norm_eps=1e-6),
    Recipe(
        "full-published-f16-sharded",
        seed=59,
        shards=2,
        feature_layer=-1,
        feature_select="full",
        projector_bias=False,
        vision_heads=1,
    ),
]


def prompt_ids(prompt, tokenizer, image_token, tokens_per_picture):
    """As the original LLaVA does: each stretch of text around <image> is encoded by itself."""
    ids = [tokenizer.bos_id()]
    for index, chunk in enumerate(prompt.split("<image>")):
        if index > 0:
            ids += [image_token] * tokens_per_picture
        ids += tokenizer.encode(chunk)
    return ids


def attention_peak(reference, ids, pixels):
    """Mean over layers, heads and rows of the largest attention weight: 1/row were it flat."""
    with torch.no_grad():
        out = reference.model(input_ids=torch.tensor([ids]), pixel_values=pixels, output_attentions=True)
    return torch.stack([a[0, :, 4:].max(dim=-1).values.mean() for a in out.attentions]).mean().item()


def make_expected(recipe, folder, pictures):
    reference = Reference(folder)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    specials = {0, 1, 2} | set(range(tokenizer.get_piece_size(), reference.vocabulary))
    tensors = {}
    for case, (prompt, names) in CASES.items():
        ids = prompt_ids(prompt, tokenizer, reference.image_token, visual_tokens(recipe))
        pixels = reference.pixel_values([pictures[n] for n in names]) if names else None
        greedy, logits = reference.greedy(ids, pixels, ROWS)
        if specials & set(greedy):
            raise SystemExit(f"{recipe.name}: case {case} runs into a special token; choose another seed")
        tensors[f"{case}.prompt_ids"] = torch.tensor(ids, dtype=torch.int32)
        tensors[f"{case}.greedy_ids"] = torch.tensor(greedy, dtype=torch.int32)
        tensors[f"{case}.logits"] = logits.contiguous()
        tensors[f"{case}.margins"] = margins(logits)
        if names:
            tensors[f"{case}.image_features"] = reference.image_features(pixels).contiguous()
        print(
            f"  {case}: {len(ids)} prompt ids, smallest margin {margins(logits).min():.4f}, "
            f"mean attention peak {attention_peak(reference, ids, pixels):.2f}, "
            f"{len(set(greedy))} distinct tokens of {ROWS}"
        )
    # One key only: safetensors writes several in no fixed order.
    cases = {case: {"prompt": prompt, "pictures": names} for case, (prompt, names) in CASES.items()}
    save_file(tensors, folder / "expected.safetensors", metadata={"cases": json.dumps(cases)})
    return reference


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "llava")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # one order of summation, so that reruns agree

    picture_folder = arguments.out / "pictures"
    picture_folder.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for name, (seed, width, height) in PICTURES.items():
        random_picture(seed, width, height).save(picture_folder / name)
        pictures[name] = Image.open(picture_folder / name).convert("RGB")

    tokenizer = train_tokenizer()
    for recipe in RECIPES:
        print(f"{recipe.name}: {recipe.describe()}")
        folder = arguments.out / recipe.name
        write_checkpoint(recipe, folder, tokenizer)
        reference = make_expected(recipe, folder, pictures)
    pixels = {name: reference.pixel_values([picture])[0].contiguous() for name, picture in pictures.items()}
    save_file(pixels, picture_folder / "pixels.safetensors")


if __name__ == "__main__":
    main()
