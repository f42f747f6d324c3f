#!/usr/bin/env python3
"""A LLaVA-1.5-7B with random weights, made and saved by transformers, read by both.

    full_size.py FOVEA OUT

Logits of the prompt's last row: Fovea's in bfloat16, transformers' in bfloat16, and transformers' in
float32 as the truth. Fovea's relative error must be at most 1.5 times transformers' own, and the token
the same wherever the float32 margin exceeds that error. The checkpoint takes 14 GB below OUT and is
removed at the end.
Exit status: 0 passed, 1 failed.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy
import torch
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "USER: <image>\nwhere is the blue cup? ASSISTANT:"
IMAGE_TOKEN = 32000


def make_model():
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24,
                                       num_attention_heads=16, image_size=336, patch_size=14, projection_dim=768),
        text_config=LlamaConfig(vocab_size=32064, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
                                num_attention_heads=32, num_key_value_heads=32, max_position_embeddings=4096,
                                rms_norm_eps=1e-5),
        image_token_index=IMAGE_TOKEN, vision_feature_layer=-2, vision_feature_select_strategy="default")
    torch.manual_seed(11)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = LlavaForConditionalGeneration(config).eval()
    torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "embed" not in name:
                weight.normal_(0, 1 / weight.shape[1] ** 0.5)
            # Sharper queries and keys: a flat attention would hide mistakes.
            if "q_proj.weight" in name or "k_proj.weight" in name:
                weight.mul_(1.6)
            if "embed_tokens" in name:
                weight.normal_(0, 1)
    return model


def logits_of(model, ids, pixels, dtype):
    with torch.inference_mode():
        out = model(input_ids=ids, pixel_values=pixels.to(dtype), use_cache=False, logits_to_keep=1)
    return out.logits[0, -1].float().cpu().numpy()


def relative(found, truth):
    return float(numpy.linalg.norm(found - truth) / numpy.linalg.norm(truth))


def main():
    fovea, out = sys.argv[1], Path(sys.argv[2])
    folder = out / "llava-7b-random"
    shutil.rmtree(folder, ignore_errors=True)
    started = time.monotonic()
    model = make_model()
    model.save_pretrained(folder, max_shard_size="5GB")
    golden = ROOT / "tests/golden/llava/gqa-saved-f32"
    shutil.copy(golden / "tokenizer.model", folder)
    processor = {"crop_size": {"height": 336, "width": 336}, "do_center_crop": True, "do_convert_rgb": True,
                 "do_normalize": True, "do_rescale": True, "do_resize": True,
                 "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
                 "resample": 3, "rescale_factor": 1 / 255, "size": {"shortest_edge": 336}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    print(f"made and saved in {time.monotonic() - started:.0f} s")

    generator = numpy.random.default_rng(3)
    array = generator.integers(0, 256, size=(336, 336, 3), dtype=numpy.uint8)
    picture = folder / "picture.png"
    Image.fromarray(array, "RGB").save(picture)
    logits = out / "full-size-logits.npy"
    command = [fovea, "ask", "--model", str(folder), "--device", "cuda", "--dtype", "bf16", "--image", str(picture),
               "--raw-prompt", PROMPT, "--max-new-tokens", "8", "--json", "--dump-logits", str(logits)]
    torch.cuda.synchronize()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stderr.strip()[:500])
        shutil.rmtree(folder, ignore_errors=True)
        return 1
    answer = json.loads(done.stdout)
    found = numpy.load(logits)
    print("fovea:", json.dumps(answer["timings_ms"]))
    ids = answer["prompt_token_ids"]

    mean = numpy.array(processor["image_mean"]).reshape(3, 1, 1)
    deviation = numpy.array(processor["image_std"]).reshape(3, 1, 1)
    pixels = torch.from_numpy(((array.transpose(2, 0, 1) / 255 - mean) / deviation).astype(numpy.float32))
    pixels = pixels[None].cuda()
    steps = len(answer["token_ids"])
    sequences = [torch.tensor([ids + answer["token_ids"][:step]], device="cuda") for step in range(steps)]
    half = [logits_of(model, sequence, pixels, torch.bfloat16) for sequence in sequences]
    torch.backends.cuda.matmul.allow_tf32 = False
    model.float()
    truth = [logits_of(model, sequence, pixels, torch.float32) for sequence in sequences]
    good = True
    for step in range(steps):
        ours, theirs = relative(found[step], truth[step]), relative(half[step], truth[step])
        best = numpy.sort(truth[step])[-2:]
        margin, spread = best[1] - best[0], ours * numpy.linalg.norm(truth[step])
        same = int(truth[step].argmax()) == answer["token_ids"][step]
        good &= ours <= 1.5 * theirs and (same or margin <= spread)
        print(f"step {step}: relative error {ours:.2e} (transformers bf16 {theirs:.2e}), "
              f"token {'equal' if same else 'other'}, margin {margin:.3f}")
    shutil.rmtree(folder, ignore_errors=True)
    print("full size:", "passed" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
