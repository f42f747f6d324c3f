#!/usr/bin/env python3
"""What transformers takes on LLaVA-1.5-7B shapes with random weights in bfloat16: 35 + 576 + 29 tokens.

Prints one JSON object: medians in milliseconds of the vision tower with projector, the decoder's prefill,
the way from pixels to the first token, and a decode step. --compile adds decoding with a static cache and
torch.compile.
"""
import argparse
import json
import statistics
import time

import torch
import transformers
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

HIDDEN, TOKENS = 4096, (35, 576, 29)


def median_ms(run, repeats=10, warm=3):
    for _ in range(warm):
        run()
    times = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def random_model():
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24,
                                       num_attention_heads=16, image_size=336, patch_size=14, projection_dim=768),
        text_config=LlamaConfig(vocab_size=32064, hidden_size=HIDDEN, intermediate_size=11008, num_hidden_layers=32,
                                num_attention_heads=32, num_key_value_heads=32, max_position_embeddings=4096,
                                rms_norm_eps=1e-5),
        image_token_index=32000, vision_feature_layer=-2, vision_feature_select_strategy="default")
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = LlavaForConditionalGeneration(config).eval()
    torch.set_default_dtype(torch.float32)
    return model


def decode_ms(generate, short=17, long=49):
    """One step, from the difference of two lengths."""
    def seconds(count):
        begin = time.perf_counter()
        generate(count)
        torch.cuda.synchronize()
        return time.perf_counter() - begin
    seconds(short)
    steps = [(seconds(long) - seconds(short)) / (long - short) for _ in range(3)]
    return statistics.median(steps) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = random_model()
    device = torch.device("cuda")
    pixels = torch.randn(1, 3, 336, 336, device=device, dtype=torch.bfloat16)
    before, visual, after = TOKENS
    ids = torch.cat([torch.randint(5, 30000, (1, before)), torch.full((1, visual), 32000),
                     torch.randint(5, 30000, (1, after))], 1).to(device)
    mask = torch.ones_like(ids)
    embedded = torch.randn(1, sum(TOKENS), HIDDEN, device=device, dtype=torch.bfloat16)

    def generate(count):
        return model.generate(input_ids=ids, pixel_values=pixels, attention_mask=mask, max_new_tokens=count,
                              min_new_tokens=count, do_sample=False)

    with torch.inference_mode():
        report = {
            "transformers": transformers.__version__, "torch": torch.__version__,
            "device": torch.cuda.get_device_name(),
            "vision_ms": median_ms(lambda: model.model.get_image_features(pixel_values=pixels)),
            "prefill_ms": median_ms(lambda: model.model.language_model(inputs_embeds=embedded, use_cache=True)),
            "first_token_ms": median_ms(lambda: generate(1)),
            "decode_ms_per_token": decode_ms(generate),
        }
        if options.compile:
            model.generation_config.cache_implementation = "static"
            generate(17)
            report["compiled_decode_ms_per_token"] = decode_ms(generate)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
