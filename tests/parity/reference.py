"""What transformers says, in float32 with eager attention: the side Fovea is compared with."""

import torch
from transformers import AutoImageProcessor, LlavaForConditionalGeneration
from transformers.utils import logging

logging.disable_progress_bar()


class Reference:
    def __init__(self, folder):
        folder = str(folder)
        self.model = load_float32(folder)
        self.model.eval()
        self.config = self.model.config
        self.image_token = getattr(self.config, "image_token_index", None) or self.config.image_token_id
        self.vocabulary = self.config.text_config.vocab_size
        self.processor = load_image_processor(folder)

    def pixel_values(self, pictures):
        """float32 [pictures, 3, height, width] by the Pillow image backend."""
        return self.processor(images=[p.convert("RGB") for p in pictures], return_tensors="pt")["pixel_values"].float()

    @torch.no_grad()
    def image_features(self, pixels):
        """Projected features, float32 [pictures, visual tokens, hidden]."""
        features = self.model.get_image_features(pixel_values=pixels)
        features = getattr(features, "pooler_output", features)  # transformers 4 returned them bare
        return torch.stack([f.reshape(-1, f.shape[-1]) for f in features])

    @torch.no_grad()
    def logits(self, ids, pixels=None, rows=1):
        """Logits of the last `rows` positions of a sequence, float32 [rows, vocabulary]."""
        out = self.model(input_ids=torch.tensor([ids]), pixel_values=pixels, use_cache=False)
        return out.logits[0, -rows:].float()

    def greedy(self, prompt_ids, pixels, steps):
        """(ids, logits [steps, vocabulary]): every step runs the whole text again, without a cache."""
        ids, rows = [], []
        for _ in range(steps):
            row = self.logits(prompt_ids + ids, pixels)[0]
            rows.append(row)
            ids.append(int(row.argmax()))
        return ids, torch.stack(rows)


def load_float32(folder):
    keywords = {"attn_implementation": "eager", "output_loading_info": True}
    try:
        model, info = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, **keywords)
    except TypeError:  # transformers 4 calls the argument torch_dtype
        model, info = LlavaForConditionalGeneration.from_pretrained(folder, torch_dtype=torch.float32, **keywords)
    if info["missing_keys"]:
        raise SystemExit(f"transformers found no weights for {sorted(info['missing_keys'])[:5]} in {folder}")
    return model


def load_image_processor(folder):
    try:
        return AutoImageProcessor.from_pretrained(folder, backend="pil")
    except TypeError:  # transformers 4 calls the Pillow processors "slow"
        return AutoImageProcessor.from_pretrained(folder, use_fast=False)


def margins(logits):
    """Lead of the most likely token over the second, per row."""
    best = logits.topk(2, dim=-1).values
    return best[..., 0] - best[..., 1]
