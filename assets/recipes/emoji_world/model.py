"""The shared architecture, trained on rows that hold several pictures, clips and conversations at once.

A row is prefix | slot 0 | slot 1 | ... | text. A slot is one picture's visual tokens and the line break that stands
between two pictures of a clip. Every token belongs to a scene and to a conversation; a mask keeps them apart, and
positions are those that the tokens have in a prompt of their own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

import model as shared
from model import GRID, PATCH, Size

PREFIX, UNUSED = -2, -1  # scenes of tokens that belong to none; clips of a row count from 0
ALONE = 100  # scenes from here on are conversations without a picture, which bring their own prefix
COMMON = -1  # conversation of tokens that all conversations of their scene see


class Llava(shared.Llava):
    compute = torch.float32  # what autocast computes in

    def __init__(self, size: Size, vocabulary: int, prefix: list[int], between: list[int], patch_classes: int):
        super().__init__(size, vocabulary, prefix, patch_classes)
        self.register_buffer("between", torch.tensor(between), persistent=False)

    def forward(self, pixels: Tensor | None, slot_start: Tensor, slot_scene: Tensor, ids: Tensor, positions: Tensor,
                scene: Tensor, conversation: Tensor, answer_places: Tensor,
                sparse: bool = False) -> tuple[Tensor, Tensor | None]:
        """Logits [batch, answers, vocabulary] of the tokens at `answer_places`, and class logits of every patch.

        pixels: [batch x slots, 3, side, side], None when there are no slots. slot_start, slot_scene: [batch, slots],
        the position of a slot's first visual token and its scene. ids, positions, scene, conversation: [batch, text].
        sparse: attention leaves out blocks that the mask leaves empty (compiled models only).
        """
        decoder = self.language_model["model"]
        x, patches = decoder.embed_tokens(ids), None
        if pixels is not None:
            seen, patches = self._pictures(pixels, *slot_scene.shape)
            x = torch.cat([seen.to(x.dtype), x], 1)
            positions, scene, conversation = _with_slots(
                slot_start, slot_scene, positions, scene, conversation, len(self.prefix), pixels.shape[-1] // PATCH,
                len(self.between))
        x = x.to(self.compute)
        rotation = shared.rotation_of(positions, self.size.width // self.size.heads)
        mask = block_mask(scene, conversation) if sparse else attention_mask(scene, conversation, x.dtype)
        for layer in decoder.layers:
            x = layer(x, rotation, mask)
        text = x[:, -ids.shape[1]:]
        chosen = text.gather(1, answer_places[..., None].expand(-1, -1, text.shape[-1]))
        return F.linear(decoder.norm(chosen), decoder.embed_tokens.weight.to(x.dtype)), patches

    def _pictures(self, pixels: Tensor, batch: int, slots: int) -> tuple[Tensor, Tensor]:
        """Embeddings [batch, tokens, width] of the prefix and of all slots, and class logits of every patch."""
        embed = self.language_model["model"].embed_tokens
        features = self.vision_tower["vision_model"](pixels)
        patches = self.patch_head(features)
        visual = self.multi_modal_projector["linear_2"](F.gelu(self.multi_modal_projector["linear_1"](features)))
        visual = visual.unflatten(0, (batch, slots))
        between = embed(self.between).expand(batch, slots, -1, -1).to(visual.dtype)
        filled = torch.cat([visual, between], 2).flatten(1, 2)
        filled = filled[:, : filled.shape[1] - len(self.between)]
        prefix = embed(self.prefix).to(visual.dtype).expand(batch, -1, -1)
        return torch.cat([prefix, filled], 1), patches


def _with_slots(slot_start: Tensor, slot_scene: Tensor, positions: Tensor, scene: Tensor, conversation: Tensor,
                prefix: int, grid: int, between: int) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, scenes and conversations of whole rows. A coarse cell takes the position of its first fine cell."""
    batch, slots = slot_scene.shape
    device = slot_start.device
    steps = torch.arange(0, GRID, GRID // grid, device=device)
    inside = torch.cat([(steps[:, None] * GRID + steps).flatten(), GRID * GRID + torch.arange(between, device=device)])
    slot_positions = (slot_start[:, :, None] + inside).flatten(1)
    # The line break after the last picture of a clip is part of the text.
    following = torch.cat([slot_scene[:, 1:], slot_scene.new_full((batch, 1), UNUSED)], 1)
    breaks = torch.where(following == slot_scene, slot_scene, UNUSED)
    cells = grid * grid
    scenes = torch.cat([slot_scene[:, :, None].expand(-1, -1, cells), breaks[:, :, None].expand(-1, -1, between)], 2)
    kept = slots * (cells + between) - between
    first = torch.arange(prefix, device=device).expand(batch, -1)
    return (
        torch.cat([first, slot_positions[:, :kept], positions], 1),
        torch.cat([torch.full_like(first, PREFIX), scenes.flatten(1)[:, :kept], scene], 1),
        torch.cat([first.new_full((batch, prefix + kept), COMMON), conversation], 1),
    )


def attention_mask(scene: Tensor, conversation: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive mask [batch, 1, tokens, tokens]: a token sees the past of its own conversation, the pictures of its
    scene, and the prefix where its scene has pictures."""
    query, key = scene[:, :, None], scene[:, None, :]
    same = (query == key) | ((key == PREFIX) & (query >= 0) & (query < ALONE))
    heard = (conversation[:, None, :] == COMMON) | (conversation[:, :, None] == conversation[:, None, :])
    total = scene.shape[1]
    past = torch.ones(total, total, dtype=torch.bool, device=scene.device).tril()
    return torch.where(same & heard & past, 0.0, float("-inf")).to(dtype)[:, None]


def block_mask(scene: Tensor, conversation: Tensor) -> BlockMask:
    """The same as attention_mask, as whole blocks."""
    def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        own, other = scene[batch, query], scene[batch, key]
        same = (own == other) | ((other == PREFIX) & (own >= 0) & (own < ALONE))
        heard = conversation[batch, key] == COMMON
        heard = heard | (conversation[batch, query] == conversation[batch, key])
        return same & heard & (query >= key)

    count, total = scene.shape
    return create_block_mask(seen, count, None, total, total, device=scene.device)
