#!/usr/bin/env python3
"""Measures the viewer: time from start to a usable window, memory over ten questions, how quickly it
answers input while it is answering a question, and how quickly it stops.

Runs without a screen unless --under names a command that gives one. Figures depend on the machine
and on what else runs on it: nothing here passes or fails.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[2] / "assets" / "samples"


def questions():
    lines = (SAMPLES / "samples.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def about(question):
    return [f"open {SAMPLES / question['image']}"]


class Viewer:
    def __init__(self, program, model, under):
        self.command = [*under, program] + (["--model", model] if model else [])
        self.environment = dict(os.environ)
        if under:
            self.environment["QT_QPA_PLATFORM"] = "xcb"

    def run(self, script):
        """What the program printed, as objects, and when it was started."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "script"
            path.write_text("\n".join(script) + "\n")
            started = time.time() * 1000
            done = subprocess.run([*self.command, "--screenshot", folder, "--script", str(path)],
                                  capture_output=True, text=True, env=self.environment, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()], started


def measure_start(viewer, longest, asked):
    starts = []
    for _ in range(6):
        said, started = viewer.run(["measure"])
        starts.append(said[0]["at_rest_ms"] - started)
    warm = starts[1:]
    print(f"start to a window with model and picture ready: first {starts[0]:.0f} ms, then "
          f"{statistics.median(warm):.0f} ms (median of {len(warm)}, worst {max(warm):.0f})")


def measure_memory(viewer, longest, asked):
    script = [*about(longest), "measure"]
    same = [item for item in asked if item["image"] == longest["image"]]
    for at in range(30):
        script += [f"ask {same[at % len(same)]['question']}", "measure"]
    said, _ = viewer.run(script)
    memory = [entry["resident_bytes"] / 1e6 for entry in said]
    print(f"memory: {memory[0]:.0f} MB before the first question, {memory[5]:.0f} after 5, "
          f"{memory[10]:.0f} after 10, {memory[20]:.0f} after 20, {memory[30]:.0f} after 30")


def measure_input(viewer, longest, asked):
    # Every way of answering, over and over: answers are short, and what is rare must be seen.
    script = ["compare on"]
    for _ in range(6):
        for prune in ("prune none", "prune fastv 144", "prune sgl"):
            script += [prune, f"ask {longest['question']}"]
    said, _ = viewer.run([*about(longest), "probe on", *script, "probe off"])
    probe = said[-1]
    print(f"input while answering: {probe['moves']} mouse moves answered and drawn, median "
          f"{probe['input_ms_median']:.1f} ms, 99 % within {probe['input_ms_p99']:.1f} ms, "
          f"worst {probe['input_ms_worst']:.1f} ms")


def measure_stop(viewer, longest, asked):
    stops = []
    for after in (1, 3, 5, 10, 15, 20, 30, 40, 50, 60, 80, 100, 120, 150, 180, 200, 250, 300, 350):
        said, _ = viewer.run([*about(longest), f"stop_after {after}", f"ask {longest['question']}"])
        stops += [entry["stop_ms"] for entry in said if entry["stopped_while_running"]]
    print(f"stopping an answer: median {statistics.median(stops):.1f} ms, worst {max(stops):.1f} ms "
          f"of {len(stops)} at different places")


PARTS = {"start": measure_start, "memory": measure_memory, "input": measure_input,
         "stop": measure_stop}


def main():
    options = argparse.ArgumentParser(description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("program", metavar="FOVEA_GUI")
    options.add_argument("model", nargs="?", help="model folder (default: the bundled one)")
    options.add_argument("--part", choices=PARTS, help="this alone (default: everything)")
    options.add_argument("--under", help='a command that gives a screen, such as "xvfb-run -a"')
    chosen = options.parse_args()
    viewer = Viewer(chosen.program, chosen.model, (chosen.under or "").split())
    asked = questions()
    longest = max(asked, key=lambda item: len(item["answer"]))
    for name, part in PARTS.items():
        if chosen.part in (None, name):
            part(viewer, longest, asked)


if __name__ == "__main__":
    main()
