"""Write the controls of a held-out set, and print what is right without looking.

    python -m emoji_world.controls --questions ../eval/questions.jsonl --out ../../build/controls

`shuffled.jsonl` shows every question another picture (or another clip) of the same set; `blind.jsonl` shows none, for
the decoder that was trained without pictures. Both have labels beside them and name pictures of the set's own folder:

    fovea eval --questions build/controls/shuffled.jsonl --image-folder assets/eval/images
"""

import argparse
from collections import Counter, defaultdict
from pathlib import Path

from emoji_world.make_eval import write_lines
from emoji_world.splits import rng_of
from evaluate_transformers import read_lines


def shuffled(questions: list[dict]) -> list[dict]:
    """Every picture gives way to another one, every clip to another clip."""
    other = {}
    for kind in (str, list):
        seen = list(dict.fromkeys(as_key(q["image"]) for q in questions if isinstance(q.get("image"), kind)))
        rng_of("test", "shuffled").shuffle(seen)
        other.update(zip(seen, seen[1:] + seen[:1]))
    return [
        {**q, "image": as_image(other[as_key(q["image"])]), "evidence": []} if "image" in q else q for q in questions
    ]


def as_key(image):
    return tuple(image) if isinstance(image, list) else image


def as_image(key):
    return list(key) if isinstance(key, tuple) else key


def blind(questions: list[dict]) -> list[dict]:
    return [{**{key: value for key, value in q.items() if key != "image"}, "evidence": []} for q in questions]


def majority(questions: list[dict], labels: dict) -> list[str]:
    answers = defaultdict(Counter)
    for question in questions:
        answers[question["category"]][labels[question["question_id"]]] += 1
    best = {category: counts.most_common(1)[0] for category, counts in answers.items()}
    lines = []
    for category, (answer, number) in best.items():
        lines.append(f"{category:10} {number / answers[category].total():.4f} {answer}")
    return lines + [f"{'all':10} {sum(number for _, number in best.values()) / len(questions):.4f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    questions = read_lines(options.questions)
    labels = read_lines(options.questions.with_name(options.questions.stem + "-labels.jsonl"))
    options.out.mkdir(parents=True, exist_ok=True)
    for name, rows in (("shuffled", shuffled(questions)), ("blind", blind(questions))):
        write_lines(options.out / f"{name}.jsonl", rows)
        write_lines(options.out / f"{name}-labels.jsonl", labels)
    print("majority answers")
    print("\n".join(majority(questions, {label["question_id"]: label["answer"] for label in labels})))


if __name__ == "__main__":
    main()
