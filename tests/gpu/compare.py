#!/usr/bin/env python3
"""Compares what the command says on a GPU with what it says on the CPU.

    compare.py answers CPU.jsonl GPU.jsonl SHARE   answers of fovea eval: at least SHARE of them equal
    compare.py methods FOVEA                       every pruning method: kept tokens and answers
    compare.py classify FOVEA OUT                  class probabilities
Exit status: 0 as equal as they must be, 1 not.
"""

import csv
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CALIBRATED = "assets/calibration/fovea-base"
METHODS = [
    "none", "fastv:budget=288", "adaptinfer", "pyramiddrop", "sparsevlm:version=1", "sparsevlm",
    "sparsevlm:version=2", "himap:budget=288", "visionzip:budget=144", "divprune:budget=144", "zipvl", "zipvl:tau=0.8",
    "random:budget=144", "uniform:budget=144", "fastv:budget=288:debias=1.2",
    f"fitprune:config={CALIBRATED}/fitprune.json", f"fitprune:config={CALIBRATED}/fitprune-0.545.json",
    f"adaptinfer:config={CALIBRATED}/schedule.json",
    f"fastv:debias={CALIBRATED}/debias-fastv.json", f"sparsevlm:debias={CALIBRATED}/debias-sparsevlm.json",
    "zipvl:tau=0.8:debias=1.2", "pyramiddrop:debias=1.5:debias-padding=0.3:debias-stages=all",
]
GUIDED = ["--guide", "assets/models/fovea-guide"]
TOWER = ["visionzip:keep=144", f"adaptive:thresholds={CALIBRATED}/vit-0.65.json", "topk:keep=0.8+0.6+0.4",
         "random:keep=0.8+0.6+0.4", "tome:keep=0.5"]
# Every setting is asked about one picture, and about two with text between them.
PICTURES = ["assets/samples/kitchen.png", "assets/samples/street.png"]
PROMPTS = {
    "one picture": ["--image", PICTURES[0], "--question", "How many red apples are there?"],
    "two pictures": ["--image", PICTURES[0], "--image", PICTURES[1], "--raw-prompt",
                     "USER: <image>\nThis is one picture. <image>\nWhat does the sign say? ASSISTANT:"],
}


def settings():
    """Pairs of a name and options."""
    listed = [(m, [] if m == "none" else ["--prune", m]) for m in METHODS]
    listed.append(("sgl, with its guide", GUIDED))
    listed += [(f"tower {t}", ["--vit-prune", t]) for t in TOWER]
    listed.append(("tower and decoder", ["--vit-prune", TOWER[0], "--prune", "fastv:layers=2:keep=40"]))
    listed.append(("merged and pruned", ["--vit-prune", "tome:keep=0.5", "--prune", "sparsevlm:version=1:layers=2,4:keep=60,20"]))
    return listed


def read_answers(path):
    answers = {}
    for line in Path(path).read_text().splitlines():
        row = json.loads(line)
        answers[json.dumps(row["question_id"])] = row.get("text", row.get("answer"))
    return answers


def answers(first, second, share):
    a, b = read_answers(first), read_answers(second)
    if not a or a.keys() != b.keys():
        print(f"{second}: other questions than {first}, or none")
        return False
    different = [key for key in a if a[key] != b[key]]
    equal = 1 - len(different) / len(a)
    print(f"{Path(second).name}: {100 * equal:.2f} % of {len(a)} answers equal {Path(first).name}")
    for key in different[:3]:
        print(f"  {key}: {a[key]!r}, {b[key]!r}")
    return equal >= float(share)


def ask(fovea, device, options, prompt):
    command = [fovea, "ask", "--device", device, "--dtype", "f32", *prompt, "--json", "--threads", "4", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return None, done.stderr.strip()[:300]
    return json.loads(done.stdout), ""


def tokens_of(stage):
    """The tokens a stage leaves: single ones, and merged ones by what they are made of."""
    return {(token,) for token in stage.get("kept", [])} | {tuple(made_of) for made_of in stage.get("sources", [])}


def kept_share(first, second):
    """Of the tokens that a list of stages keeps, the share that both keep."""
    together = total = 0
    for a, b in zip(first, second):
        a, b = tokens_of(a), tokens_of(b)
        together += len(a & b)
        total += max(len(a), len(b))
    return together / total if total else 1.0


def compare_setting(fovea, name, options, prompt):
    """A line to print, and whether the GPU did as the CPU."""
    (cpu, cpu_error), (gpu, gpu_error) = (ask(fovea, device, options, PROMPTS[prompt]) for device in ("cpu", "cuda"))
    label = f"{name[:66]:<66} {prompt:<12}"
    if cpu is None or gpu is None:
        return f"{label} refused: {cpu_error or gpu_error}", False
    stages = [run["visual_tokens"]["stages"] for run in (cpu, gpu)]
    share = kept_share(*stages) if len(stages[0]) == len(stages[1]) else 0.0
    equal = cpu["token_ids"] == gpu["token_ids"]
    line = f"{label} kept alike {100 * share:6.2f} %  answer {'equal' if equal else 'DIFFERENT'}"
    return line, equal and share > 0.98


def methods(fovea):
    tasks = [(name, options, prompt) for prompt in PROMPTS for name, options in settings()]
    good = True
    with ThreadPoolExecutor(max_workers=4) as pool:
        for line, fine in pool.map(lambda task: compare_setting(fovea, *task), tasks):
            print(line, flush=True)
            good &= fine
    return good


CLASSIFIERS = [
    ("tests/golden/classifier/deit", []),
    ("assets/models/fovea-vit", []),
    ("assets/models/fovea-vit", ["--vit-prune", "adaptive"]),
    ("assets/models/fovea-vit", ["--vit-prune", "topk:keep=0.8+0.6+0.4"]),
    ("assets/models/fovea-vit", ["--vit-prune", "tome:keep=0.5"]),
]


def classes(fovea, out, device, model, options):
    path = Path(out) / f"classes-{device}.csv"
    command = [fovea, "classify", "--device", device, "--dtype", "f32", "--model", model, *options, "--csv", str(path), "assets/samples"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stderr.strip()[:300])
        return []
    return list(csv.DictReader(path.open()))


def classify(fovea, out):
    good = True
    for model, options in CLASSIFIERS:
        first, second = (classes(fovea, out, device, model, options) for device in ("cpu", "cuda"))
        label = f"{Path(model).name} {' '.join(options)}"
        worst = 0.0
        for a, b in zip(first, second):
            if a["label_1"] != b["label_1"]:
                print(f"{label} {a['path']}: {a['label_1']} on the CPU, {b['label_1']} on the GPU")
                worst = 1.0
            worst = max(worst, abs(float(a["prob_1"]) - float(b["prob_1"])))
        print(f"classify {label}: {len(first)} pictures, probabilities within {worst:.1e}")
        good &= len(first) == len(second) > 0 and worst < 1e-4
    return good


def main():
    what, *arguments = sys.argv[1:]
    return 0 if {"answers": answers, "methods": methods, "classify": classify}[what](*arguments) else 1


if __name__ == "__main__":
    sys.exit(main())
