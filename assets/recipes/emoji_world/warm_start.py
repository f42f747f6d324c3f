"""Checkpoints for train.py from a model of another world, so that training need not begin from nothing.

    python -m emoji_world.warm_start --model ../models/fovea-guide --name guide --out ../../build/emoji_world/checkpoints

Embeddings move to the pieces of the new tokenizer: the same piece keeps its own, another gets the mean of those that
spelled it. Start train.py with --low-minutes 0: what is learned at half resolution is there already.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from emoji_world import MADE
from emoji_world.atlas import load
from emoji_world.model import Llava
from emoji_world.tokenizer import Tokenizer
from model import SIZES
from weights import save_weights

EMBEDDING = "language_model.model.embed_tokens.weight"


def load_exported(folder: Path) -> dict[str, torch.Tensor]:
    """Weights of a model folder under the names that training uses (those of published LLaVA-1.5 files)."""
    tensors = {key: value for file in sorted(folder.glob("*.safetensors")) for key, value in load_file(file).items()}
    return {key.replace("vision_tower.", "vision_tower.vision_model.") if "vision_model" not in key else key:
            value.float() for key, value in tensors.items()}


def move_embeddings(old: torch.Tensor, before: Tokenizer, after: Tokenizer) -> torch.Tensor:
    moved = old.mean(0, keepdim=True).repeat(after.vocab, 1)
    for index in range(after.image):
        piece = after.model.id_to_piece(index)
        known = before.model.piece_to_id(piece)
        if known != before.model.unk_id() or index == after.model.unk_id():
            moved[index] = old[known]
        else:
            spelled = before.model.encode(piece.replace("\u2581", " "))
            moved[index] = old[spelled].mean(0)
    moved[after.image] = old[before.image]
    return moved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the exported model")
    parser.add_argument("--name", choices=sorted(SIZES), required=True)
    parser.add_argument("--atlas", type=Path, default=MADE / "atlas.npz")
    parser.add_argument("--tokenizer", type=Path, default=MADE / "tokenizer.model")
    parser.add_argument("--out", type=Path, default=MADE / "checkpoints")
    options = parser.parse_args()
    before, after = Tokenizer(options.model / "tokenizer.model"), Tokenizer(options.tokenizer)
    torch.manual_seed(0)
    kinds = len(load(options.atlas).first) - 1
    model = Llava(SIZES[options.name], after.vocab, after.prefix, after.between, kinds + 1)
    weights = load_exported(options.model)
    weights[EMBEDDING] = move_embeddings(weights[EMBEDDING], before, after)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or set(missing) != {"patch_head.weight", "patch_head.bias"}:
        raise SystemExit(f"the weights do not fit: missing {missing}, unexpected {unexpected}")
    options.out.mkdir(parents=True, exist_ok=True)
    save_weights(model, options.name, options.out)
    (options.out / "progress.json").write_text(json.dumps({"spent": [0.0, 0.0], "steps": [0, 0]}) + "\n")


if __name__ == "__main__":
    main()
