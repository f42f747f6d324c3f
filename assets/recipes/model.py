"""The LLaVA-1.5 architecture in plain PyTorch, with the parameter names of Hugging Face checkpoints.

Only what training needs: many short conversations about one picture are packed behind its visual tokens, and
pictures may be shown at half resolution (a 12x12 instead of a 24x24 grid) while positions stay those of the full grid.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention

GRID = 24
PATCH = 14
IMAGE_SIZE = GRID * PATCH
ROPE_THETA = 10000.0


@dataclass(frozen=True)
class Size:
    """Dimensions of one model. The last vision block is never run (feature layer -2) but belongs to the layout."""

    vision_width: int
    vision_mlp: int
    vision_blocks: int
    vision_heads: int
    width: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int


SIZES = {
    "base": Size(vision_width=192, vision_mlp=768, vision_blocks=8, vision_heads=6,
                 width=256, mlp=544, layers=12, heads=8, kv_heads=4),
    "guide": Size(vision_width=96, vision_mlp=384, vision_blocks=6, vision_heads=3,
                  width=128, mlp=240, layers=6, heads=4, kv_heads=4),
}


class VisionAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(project(x), self.heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(join_heads(F.scaled_dot_product_attention(q, k, v)))


class VisionBlock(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.self_attn = VisionAttention(size.vision_width, size.vision_heads)
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(size.vision_width), nn.LayerNorm(size.vision_width)
        self.mlp = nn.ModuleDict({
            "fc1": nn.Linear(size.vision_width, size.vision_mlp), "fc2": nn.Linear(size.vision_mlp, size.vision_width),
        })

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        hidden = self.mlp["fc1"](self.layer_norm2(x))
        return x + self.mlp["fc2"](hidden * torch.sigmoid(1.702 * hidden))  # quick_gelu


class VisionEmbeddings(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.randn(width) * 0.02)
        self.patch_embedding = nn.Conv2d(3, width, PATCH, PATCH, bias=False)
        self.position_embedding = nn.Embedding(GRID * GRID + 1, width)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels)
        positions = self.position_embedding.weight
        if patches.shape[-1] != GRID:  # a coarse cell stands where the mean of its fine cells does
            grid = positions[1:].T.reshape(1, -1, GRID, GRID)
            pooled = F.avg_pool2d(grid, GRID // patches.shape[-1]).flatten(2)[0].T
            positions = torch.cat([positions[:1], pooled])
        tokens = patches.flatten(2).transpose(1, 2)
        first = self.class_embedding.to(tokens.dtype).expand(len(tokens), 1, -1)
        return torch.cat([first, tokens], 1) + positions


class VisionTower(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.embeddings = VisionEmbeddings(size.vision_width)
        self.pre_layrnorm = nn.LayerNorm(size.vision_width)  # spelled as CLIP checkpoints spell it
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(VisionBlock(size) for _ in range(size.vision_blocks))})
        self.post_layernorm = nn.LayerNorm(size.vision_width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Patch features of the last block but one, without the class token."""
        x = self.pre_layrnorm(self.embeddings(pixels))
        for block in self.encoder["layers"][:-1]:
            x = block(x)
        return x[:, 1:]


class DecoderAttention(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.heads, self.kv_heads = size.heads, size.kv_heads
        head = size.width // size.heads
        self.q_proj = nn.Linear(size.width, size.width, bias=False)
        self.k_proj = nn.Linear(size.width, head * size.kv_heads, bias=False)
        self.v_proj = nn.Linear(size.width, head * size.kv_heads, bias=False)
        self.o_proj = nn.Linear(size.width, size.width, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | BlockMask) -> Tensor:
        q = rotate(split_heads(self.q_proj(x), self.heads), rotation)
        k = rotate(split_heads(self.k_proj(x), self.kv_heads), rotation)
        v = split_heads(self.v_proj(x), self.kv_heads)
        if isinstance(mask, BlockMask):
            q, k = q.to(v.dtype), k.to(v.dtype)
            return self.o_proj(join_heads(flex_attention(q, k, v, block_mask=mask, enable_gqa=True)))
        if self.kv_heads != self.heads:
            k, v = (t.repeat_interleave(self.heads // self.kv_heads, 1) for t in (k, v))
        return self.o_proj(join_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=mask)))


class DecoderLayer(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.self_attn = DecoderAttention(size)
        self.mlp = nn.ModuleDict({
            "gate_proj": nn.Linear(size.width, size.mlp, bias=False),
            "up_proj": nn.Linear(size.width, size.mlp, bias=False),
            "down_proj": nn.Linear(size.mlp, size.width, bias=False),
        })
        self.input_layernorm = nn.RMSNorm(size.width, eps=1e-5)
        self.post_attention_layernorm = nn.RMSNorm(size.width, eps=1e-5)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rotation, mask)
        hidden = self.post_attention_layernorm(x)
        return x + self.mlp["down_proj"](F.silu(self.mlp["gate_proj"](hidden)) * self.mlp["up_proj"](hidden))


class Decoder(nn.Module):
    def __init__(self, size: Size, vocabulary: int):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, size.width)
        self.layers = nn.ModuleList(DecoderLayer(size) for _ in range(size.layers))
        self.norm = nn.RMSNorm(size.width, eps=1e-5)


class Llava(nn.Module):
    """Embeddings are tied: the output layer is `embed_tokens` itself. `patch_head` exists for training only."""

    def __init__(self, size: Size, vocabulary: int, prefix: list[int], patch_classes: int):
        super().__init__()
        self.size = size
        self.vision_tower = nn.ModuleDict({"vision_model": VisionTower(size)})
        self.multi_modal_projector = nn.ModuleDict({
            "linear_1": nn.Linear(size.vision_width, size.width), "linear_2": nn.Linear(size.width, size.width),
        })
        self.language_model = nn.ModuleDict({"model": Decoder(size, vocabulary)})
        self.patch_head = nn.Linear(size.vision_width, patch_classes)
        self.register_buffer("prefix", torch.tensor(prefix), persistent=False)
        self.apply(initialise)
        for name, parameter in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "out_proj.weight", "fc2.weight")):
                nn.init.normal_(parameter, std=0.02 / (2 * size.layers) ** 0.5)

    def forward(self, pixels: Tensor, ids: Tensor, offsets: Tensor, conversation: Tensor,
                answer_places: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [batch, answers, vocabulary] of the tokens at `answer_places`, and class logits of every patch.

        ids, offsets, conversation: [batch, text]; `offsets` count from the picture within each conversation.
        """
        features = self.vision_tower["vision_model"](pixels)
        patches = self.patch_head(features)
        visual = self.multi_modal_projector["linear_2"](F.gelu(self.multi_modal_projector["linear_1"](features)))

        decoder = self.language_model["model"]
        batch, grid = len(ids), pixels.shape[-1] // PATCH
        prefix = decoder.embed_tokens(self.prefix).expand(batch, -1, -1).to(visual.dtype)
        x = torch.cat([prefix, visual, decoder.embed_tokens(ids).to(visual.dtype)], 1)

        positions = torch.cat([picture_positions(len(self.prefix), grid, ids.device).expand(batch, -1),
                               offsets + len(self.prefix) + GRID * GRID], 1)
        rotation = rotation_of(positions, self.size.width // self.size.heads)
        mask = conversation_mask(conversation, x.shape[1] - ids.shape[1], x.dtype)
        for layer in decoder.layers:
            x = layer(x, rotation, mask)
        text = x[:, -ids.shape[1]:]
        chosen = text.gather(1, answer_places[..., None].expand(-1, -1, text.shape[-1]))
        return F.linear(decoder.norm(chosen), decoder.embed_tokens.weight.to(x.dtype)), patches


def initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)


def split_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def rotation_of(positions: Tensor, head: int) -> tuple[Tensor, Tensor]:
    frequencies = ROPE_THETA ** (-torch.arange(0, head, 2, device=positions.device).float() / head)
    angles = positions[:, None, :, None].float() * frequencies
    angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    low, high = x.chunk(2, -1)
    return (x * rotation[0] + torch.cat([-high, low], -1) * rotation[1]).to(x.dtype)


def picture_positions(prefix: int, grid: int, device: torch.device) -> Tensor:
    """Positions of prefix and visual tokens; a coarse cell takes the position of its first fine cell."""
    step = GRID // grid
    steps = torch.arange(0, GRID, step, device=device)
    cells = (steps[:, None] * GRID + steps).flatten() + prefix
    return torch.cat([torch.arange(prefix, device=device), cells])


def conversation_mask(conversation: Tensor, before: int, dtype: torch.dtype) -> Tensor:
    """Additive mask: text sees prefix, picture and its own conversation's past; padding (-1) sees itself as one."""
    batch, text = conversation.shape
    total = before + text
    owner = torch.cat([conversation.new_full((batch, before), -2), conversation], 1)
    seen = (owner[:, :, None] == owner[:, None, :]) | (owner[:, None, :] == -2)
    seen = seen & torch.ones(total, total, dtype=torch.bool, device=conversation.device).tril()
    return torch.where(seen, 0.0, float("-inf")).to(dtype)[:, None]
