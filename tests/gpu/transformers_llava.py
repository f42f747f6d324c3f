#!/usr/bin/env python3
"""What transformers takes on LLaVA-1.5-7B shapes with random weights in bfloat16: 35 + 576 + 29 tokens.

Prints one JSON object: medians in milliseconds of the vision tower with projector, the decoder's prefill,
the way from pixels to the first token on the host, and a decode step. --compile adds the same with
torch.compile, under names that begin with compiled_; there decoding has a static cache. batch_answers_per_s:
32 questions on 32 pictures side by side, 32 new tokens each, from pixels to tokens.
"""
import argparse
import json
import statistics
import sys
import time

import torch
import transformers
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

HIDDEN, TOKENS = 4096, (35, 576, 29)
BATCH, NEW_TOKENS = 32, 32


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
    seconds(long)
    steps = [(seconds(long) - seconds(short)) / (long - short) for _ in range(3)]
    return statistics.median(steps) * 1e3


class Bench:
    def __init__(self, model):
        device = torch.device("cuda")
        before, visual, after = TOKENS
        self.model, self.place = model, slice(before, before + visual)
        self.pixels = torch.randn(1, 3, 336, 336, device=device, dtype=torch.bfloat16)
        self.ids = torch.cat([torch.randint(5, 30000, (1, before)), torch.full((1, visual), 32000),
                              torch.randint(5, 30000, (1, after))], 1).to(device)
        self.mask = torch.ones_like(self.ids)
        self.embedded = torch.randn(1, sum(TOKENS), HIDDEN, device=device, dtype=torch.bfloat16)
        self.tower, self.decoder = model.model.get_image_features, model.model.language_model

    def see(self):
        return self.tower(pixel_values=self.pixels)

    def read(self):
        return self.decoder(inputs_embeds=self.embedded, use_cache=True)

    def generate(self, count):
        return self.model.generate(input_ids=self.ids, pixel_values=self.pixels, attention_mask=self.mask,
                                   max_new_tokens=count, min_new_tokens=count, do_sample=False)

    def answers_per_second(self):
        """Of a whole batch at a time; median of three."""
        device = self.ids.device
        ids, mask = self.ids.expand(BATCH, -1).contiguous(), self.mask.expand(BATCH, -1).contiguous()
        pixels = torch.randn(BATCH, 3, 336, 336, device=device, dtype=torch.bfloat16)
        def answer():
            begin = time.perf_counter()
            self.model.generate(input_ids=ids, pixel_values=pixels, attention_mask=mask, max_new_tokens=NEW_TOKENS,
                                min_new_tokens=NEW_TOKENS, do_sample=False)
            torch.cuda.synchronize()
            return time.perf_counter() - begin
        answer()
        return BATCH / statistics.median(answer() for _ in range(3))

    def first_token(self):
        """The parts one after the other, for compiled ones: generate() compiles its decoding alone."""
        features = self.see()
        features = getattr(features, "pooler_output", features)
        features = torch.cat(list(features)) if isinstance(features, (tuple, list)) else features
        embedded = self.model.get_input_embeddings()(self.ids)
        embedded[0, self.place] = features.reshape(-1, HIDDEN)
        hidden = self.decoder(inputs_embeds=embedded, use_cache=True).last_hidden_state
        return self.model.lm_head(hidden[:, -1]).argmax(-1).item()


def try_to(report, key, measure):
    """What cannot be compiled here is missing from the report, and said."""
    try:
        report[key] = measure()
    except Exception as error:  # pylint: disable=broad-except
        print(f"{key}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--compile-batch", action="store_true", help="the batch too, which takes two minutes more")
    options = parser.parse_args()
    torch.manual_seed(0)
    bench = Bench(random_model())
    with torch.inference_mode():
        report = {
            "transformers": transformers.__version__, "torch": torch.__version__,
            "device": torch.cuda.get_device_name(),
            "vision_ms": median_ms(bench.see),
            "prefill_ms": median_ms(bench.read),
            "first_token_ms": median_ms(lambda: bench.generate(1)),
            "decode_ms_per_token": decode_ms(bench.generate),
        }
        try_to(report, "batch_answers_per_s", bench.answers_per_second)
        if options.compile:
            bench.tower, bench.decoder = torch.compile(bench.tower), torch.compile(bench.decoder)
            try_to(report, "compiled_vision_ms", lambda: median_ms(bench.see))
            try_to(report, "compiled_prefill_ms", lambda: median_ms(bench.read))
            try_to(report, "compiled_first_token_ms", lambda: median_ms(bench.first_token))
            bench.model.generation_config.cache_implementation = "static"
            try_to(report, "compiled_decode_ms_per_token", lambda: decode_ms(bench.generate))
            if options.compile_batch:
                try_to(report, "compiled_batch_answers_per_s", bench.answers_per_second)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
