"""A DeiT-style Vision Transformer under timm's parameter names, with the masked form in which the thresholds of
Adaptive Sparse ViT are learned (arXiv 2209.13802, sections 3 and 5 of our method page)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FIRST_SCORED_BLOCK = 2
NORM_EPSILON = 1e-8  # of the shares of heads
MASK_EPSILON = 1e-6  # of the masked softmax
TEMPERATURE = 1e-4
INITIAL_THRESHOLDS = (0.001, 0.002, 0.003)


@dataclass(frozen=True)
class Size:
    width: int = 128
    heads: int = 4
    depth: int = 12
    ratio: int = 4
    side: int = 224
    patch: int = 16
    cuts: tuple[int, ...] = (4, 7, 10)

    @property
    def patches(self) -> int:
        return (self.side // self.patch) ** 2

    def block_flops(self, tokens):
        """Multiply-adds of one block; `tokens` may be a tensor."""
        d = self.width
        return 4 * d * d * tokens + 2 * d * tokens ** 2 + 2 * self.ratio * d * d * tokens

    def flops(self) -> float:
        return self.patches * 3 * self.patch ** 2 * self.width + self.depth * self.block_flops(1 + self.patches)


class Attention(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.heads = size.heads
        self.qkv = nn.Linear(size.width, 3 * size.width)
        self.proj = nn.Linear(size.width, size.width)

    def forward(self, x: Tensor, policy: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """policy [batch, tokens]: 1 where a token is kept, 0 where not; None: all are, and no scores are made."""
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if policy is None:
            return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)), None
        logits = (q @ k.transpose(-2, -1)).float() * q.shape[-1] ** -0.5
        # A dropped token is seen by itself alone, so that its own row stays finite.
        seen = policy.float()[:, None, None, :]
        seen = seen + (1 - seen) * torch.eye(tokens, device=x.device)
        weights = (logits - logits.amax(-1, keepdim=True)).exp() * seen
        p = (weights + MASK_EPSILON / tokens) / (weights.sum(-1, keepdim=True) + MASK_EPSILON)
        context = p.to(v.dtype) @ v
        norms = context.float().norm(dim=-1)
        share = norms / (norms.sum(1, keepdim=True) + NORM_EPSILON)
        scores = (p[:, :, 0] * share).sum(1)[:, 1:]
        return self.proj(context.transpose(1, 2).flatten(2)), scores


class Mlp(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.fc1 = nn.Linear(size.width, size.ratio * size.width)
        self.fc2 = nn.Linear(size.ratio * size.width, size.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width, eps=1e-6)
        self.attn = Attention(size)
        self.norm2 = nn.LayerNorm(size.width, eps=1e-6)
        self.mlp = Mlp(size)

    def forward(self, x: Tensor, policy: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        mixed, scores = self.attn(self.norm1(x), policy)
        x = x + mixed
        return x + self.mlp(self.norm2(x)), scores


class PatchEmbed(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.proj = nn.Conv2d(3, size.width, size.patch, size.patch)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.proj(pixels).flatten(2).transpose(1, 2)


class ScorePredictor(nn.Module):
    """One threshold; named as trained checkpoints name it."""

    def __init__(self, threshold: float):
        super().__init__()
        self.keep_threshold = nn.Parameter(torch.tensor(threshold))

    def forward(self, scores: Tensor) -> Tensor:
        """1 where a score lies above the threshold, 0 where not, with the gradient of a steep sigmoid."""
        soft = torch.sigmoid((scores - self.keep_threshold) / TEMPERATURE)
        return (scores > self.keep_threshold).float() + soft - soft.detach()


@dataclass
class Output:
    logits: Tensor
    tokens: Tensor  # [batch, patches, width], after the last norm
    kept: list[Tensor]  # per cut [batch, patches]; empty without masks
    flops: Tensor | None  # per picture; None without masks


class FoveaVit(nn.Module):
    def __init__(self, size: Size, classes: int):
        super().__init__()
        self.size = size
        self.patch_embed = PatchEmbed(size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + size.patches, size.width))
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width, eps=1e-6)
        self.head = nn.Linear(size.width, classes)
        self.score_predictor = nn.ModuleList(ScorePredictor(value) for value in INITIAL_THRESHOLDS[:len(size.cuts)])
        for parameter in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, pixels: Tensor, masked: bool = False) -> Output:
        """masked: with the thresholds in force, every token still computed, so that gradients reach them."""
        x = self.patch_embed(pixels)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        policy = torch.ones(x.shape[:2], device=x.device) if masked else None
        kept, flops, state = [], torch.zeros(len(x), device=x.device), None
        for index, block in enumerate(self.blocks):
            if masked and index in self.size.cuts:
                # Masks are not cumulative: every cut decides about all patches anew.
                kept.append(self.score_predictor[self.size.cuts.index(index)](state))
                policy = torch.cat([torch.ones_like(kept[-1][:, :1]), kept[-1]], 1)
            x, scores = block(x, policy)
            if masked:
                flops = flops + self.size.block_flops(policy.sum(1))
                state = scores if index >= FIRST_SCORED_BLOCK else state
        x = self.norm(x)
        embedding = self.size.flops() - self.size.depth * self.size.block_flops(1 + self.size.patches)
        return Output(self.head(x[:, 0]), x[:, 1:], kept, flops + embedding if masked else None)
