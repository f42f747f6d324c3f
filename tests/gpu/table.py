#!/usr/bin/env python3
"""The tables of tests/gpu/run.sh: Fovea beside its floor and transformers, from what their steps left in a folder."""
import json
import pathlib
import re
import sys

ROWS = (("ViT-L/14-336 + projector", "vision_ms", 2.0, None),
        ("prefill of 640 tokens", "prefill_ms", 14.5, 8.0),
        ("picture in memory -> first token", "first_token_ms", 18.0, 11.0),
        ("decode, a token", "decode_ms_per_token", 5.1, None))

BATCH_REACH = (42, 95)  # answers a second, unpruned and pruned


def load(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def number(value):
    return "-" if value is None else f"{value:.2f}"


def runs_of(path):
    """The unpruned run and the pruned one."""
    runs = (load(path) or {}).get("runs", [])
    plain = next((run for run in runs if run.get("prune") in (None, "none")), {})
    return plain, next((run for run in runs if run is not plain), {})


def print_batch(run, label, reach):
    parts = run["batch_ms"]
    print(f"{run['batch']} questions side by side, {run['prune'] + label:19} {run['answers_per_s']:6.1f} answers a second "
          f"(reach {reach}), {run['tokens_per_s']:.0f} tokens a second; vision {parts['vision']:.1f}, prefill "
          f"{parts['prefill']:.1f}, decode {parts['decode']:.1f} of {parts['total']:.1f} ms; "
          f"memory {run['peak_bytes'] / 1e9:.1f} GB")


def main():
    folder = pathlib.Path(sys.argv[1])
    peer = load(folder / "transformers.json") or {}
    plain, pruned = runs_of(folder / "bench.json")
    tuned, tuned_pruned = runs_of(folder / "tuned.json")
    print(f"card: {peer.get('device', 'see above')}; transformers {peer.get('transformers', '-')}, "
          f"PyTorch {peer.get('torch', '-')}")
    ceilings = folder / "kernel-timings.txt"
    for line in ceilings.read_text().splitlines() if ceilings.exists() else []:
        if line.startswith("ceiling"):
            print(re.sub(r"\s{2,}", "  ", line))
    if plain.get("read_bandwidth"):
        print(f"ceiling: reading  {plain['read_bandwidth'] / 1e12:.2f} TB/s")
    print()
    columns = ("transformers", "compiled", "floor", "fovea", "tuned", "reach", "floor", "pruned", "tuned", "reach")
    print(f"{'milliseconds, LLaVA-1.5-7B shapes, bf16':40}" + "".join(f"{name:>13}" for name in columns))
    for title, key, reach, pruned_reach in ROWS:
        values = [peer.get(key), peer.get("compiled_" + key), plain.get("floor", {}).get(key), plain.get(key),
                  tuned.get(key), reach]
        same = key == "vision_ms"
        values += [None if same else run.get(key) for run in (pruned.get("floor", {}), pruned, tuned_pruned)]
        values.append(pruned_reach)
        print(f"{title:40}" + "".join(f"{number(value):>13}" for value in values))
    if pruned:
        print(f"{pruned['prune']}: scoring and choosing are {100 * pruned.get('select_share', 0):.1f} % of the prefill "
              f"(reach 2 %)")
    if plain:
        print(f"memory: {plain['peak_bytes'] / 1e9:.2f} GB in all, {plain['decode_weight_bytes'] / 1e9:.2f} GB of it what a "
              "decoded token reads of the decoder")
    for name, label in (("batch.json", ""), ("tuned-batch.json", ", tuned")):
        for run, reach in zip(runs_of(folder / name), BATCH_REACH):
            if run.get("answers_per_s"):
                print_batch(run, label, reach)
    for key in ("batch_answers_per_s", "compiled_batch_answers_per_s"):
        if key in peer:
            print(f"transformers, {key}: {peer[key]:.1f}")
    for path in sorted(folder.glob("bench-*.json"), key=lambda found: int(found.stem.split("-")[1])):
        for run in runs_of(path):
            if run:
                print(f"{run['prompt_tokens']} tokens, {run['prune']:12} prefill {run['prefill_ms']:9.1f} ms (floor "
                      f"{run['floor']['prefill_ms']:.1f}), decode {run['decode_ms_per_token']:.2f} ms, "
                      f"memory {run['peak_bytes'] / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
