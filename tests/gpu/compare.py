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
from pathlib import Path

METHODS = [
    "none", "fastv:budget=288", "adaptinfer:budget=144", "pyramiddrop", "sparsevlm:version=1", "sparsevlm",
    "himap:budget=288", "visionzip:budget=144", "divprune:budget=144", "zipvl", "random:budget=144",
    "uniform:budget=144", "fastv:budget=288:debias=1.2",
]
PICTURE, QUESTION = "assets/samples/kitchen.png", "How many red apples are there?"


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


def ask(fovea, device, method):
    command = [fovea, "ask", "--device", device, "--dtype", "f32", "--image", PICTURE, "--question", QUESTION, "--json"]
    if method != "none":
        command += ["--prune", method]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return None, done.stderr.strip()[:300]
    return json.loads(done.stdout), ""


def kept_share(first, second):
    """Of the tokens that a list of stages keeps, the share that both keep."""
    together = total = 0
    for a, b in zip(first, second):
        a, b = set(a.get("kept", [])), set(b.get("kept", []))
        together += len(a & b)
        total += max(len(a), len(b))
    return together / total if total else 1.0


def methods(fovea):
    good = True
    for method in METHODS:
        (cpu, cpu_error), (gpu, gpu_error) = ask(fovea, "cpu", method), ask(fovea, "cuda", method)
        if cpu is None or gpu is None:
            print(f"{method:<32} refused: {cpu_error or gpu_error}")
            good = False
            continue
        stages = [run["visual_tokens"]["stages"] for run in (cpu, gpu)]
        share = kept_share(*stages) if len(stages[0]) == len(stages[1]) else 0.0
        equal = cpu["token_ids"] == gpu["token_ids"]
        print(f"{method:<32} kept alike {100 * share:6.2f} %  answer {'equal' if equal else 'DIFFERENT'}")
        good &= equal and share > 0.98
    return good


def classify(fovea, out):
    tables = []
    for device in ("cpu", "cuda"):
        path = Path(out) / f"classes-{device}.csv"
        command = [fovea, "classify", "--device", device, "--model", "tests/golden/classifier/deit",
                   "--csv", str(path), "assets/samples"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            print(done.stderr.strip()[:300])
            return False
        tables.append(list(csv.DictReader(path.open())))
    worst = 0.0
    for a, b in zip(*tables):
        if a["label_1"] != b["label_1"]:
            print(f"{a['path']}: {a['label_1']} on the CPU, {b['label_1']} on the GPU")
            return False
        worst = max(worst, abs(float(a["prob_1"]) - float(b["prob_1"])))
    print(f"classify: {len(tables[0])} pictures, probabilities within {worst:.1e}")
    return len(tables[0]) == len(tables[1]) > 0 and worst < 1e-4


def main():
    what, *arguments = sys.argv[1:]
    return 0 if {"answers": answers, "methods": methods, "classify": classify}[what](*arguments) else 1


if __name__ == "__main__":
    sys.exit(main())
