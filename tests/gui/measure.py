#!/usr/bin/env python3
"""Measures the viewer: time from start to a usable window, memory over ten questions, how quickly it
answers input while it is answering a question, and how quickly it stops.

usage: measure.py FOVEA_GUI [MODEL] [--under COMMAND...]

Runs without a screen unless --under names a command that gives one, such as "xvfb-run -a". Figures
depend on the machine and on what else runs on it: nothing here passes or fails.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[2] / "assets" / "samples"


def questions():
    lines = (SAMPLES / "samples.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line.strip()]


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


def main():
    words = sys.argv[1:]
    under = []
    if "--under" in words:
        at = words.index("--under")
        under, words = words[at + 1:], words[:at]
        under = under[0].split() if len(under) == 1 else under
    if not 1 <= len(words) <= 2:
        sys.exit(__doc__)
    viewer = Viewer(words[0], words[1] if len(words) == 2 else None, under)
    asked = questions()
    longest = max(asked, key=lambda item: len(item["answer"]))
    about = [f"open {SAMPLES / longest['image']}"]

    starts = []
    for _ in range(6):
        said, started = viewer.run(["measure"])
        starts.append(said[0]["at_rest_ms"] - started)
    warm = starts[1:]
    print(f"start to a window with model and picture ready: first {starts[0]:.0f} ms, then "
          f"{statistics.median(warm):.0f} ms (median of {len(warm)}, worst {max(warm):.0f})")

    script = ["measure"]
    for item in [item for item in asked if item["image"] == longest["image"]] * 10:
        script += [f"ask {item['question']}", "measure"]
    said, _ = viewer.run(about + script[:1 + 2 * 30])
    memory = [entry["resident_bytes"] / 1e6 for entry in said]
    print(f"memory: {memory[0]:.0f} MB before the first question, {memory[5]:.0f} after 5, "
          f"{memory[10]:.0f} after 10, {memory[20]:.0f} after 20, {memory[30]:.0f} after 30")

    said, _ = viewer.run(about + ["probe on", f"ask {longest['question']}", "compare on",
                                  "prune fastv 144", f"ask {longest['question']}", "probe off"])
    probe = said[-1]
    print(f"input while answering: {probe['moves']} mouse moves answered and drawn, median "
          f"{probe['input_ms_median']:.1f} ms, 99 % within {probe['input_ms_p99']:.1f} ms, "
          f"worst {probe['input_ms_worst']:.1f} ms")

    stops = []
    for after in (1, 5, 10, 20, 40, 60, 80, 100, 120, 150, 200, 300, 500, 800):
        said, _ = viewer.run(about + [f"stop_after {after}", f"ask {longest['question']}"])
        stops += [entry["stop_ms"] for entry in said if entry["stopped_while_running"]]
    print(f"stopping an answer: median {statistics.median(stops):.1f} ms, worst {max(stops):.1f} ms "
          f"of {len(stops)} at different places")


if __name__ == "__main__":
    main()
