#!/usr/bin/env python3
"""The table of tests/gpu/run.sh: Fovea beside transformers, from what their steps left in a folder."""
import json
import pathlib
import sys

ROWS = (("ViT-L/14-336 + projector", "vision_ms", 2.0, None),
        ("prefill of 640 tokens", "prefill_ms", 14.5, 8.0),
        ("picture in memory -> first token", "first_token_ms", 18.0, 11.0),
        ("decode, a token", "decode_ms_per_token", 5.1, None))


def load(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def number(value):
    return "-" if value is None else f"{value:.2f}"


def main():
    folder = pathlib.Path(sys.argv[1])
    peer = load(folder / "transformers.json") or {}
    runs = (load(folder / "bench.json") or {}).get("runs", [])
    ours = {"none" if not run.get("prune") or run["prune"] == "none" else "pruned": run for run in runs}
    print(f"{'milliseconds, LLaVA-1.5-7B shapes, bf16':40} {'transformers':>13} {'fovea':>8} {'reach':>7}"
          f" {'pruned':>8} {'reach':>7}")
    for title, key, reach, pruned_reach in ROWS:
        plain, pruned = ours.get("none", {}).get(key), ours.get("pruned", {}).get(key)
        print(f"{title:40} {number(peer.get(key)):>13} {number(plain):>8} {number(reach):>7}"
              f" {number(pruned):>8} {number(pruned_reach):>7}")


if __name__ == "__main__":
    main()
