"""Answer the held-out questions with Hugging Face transformers: float32, greedy, the shipped preprocessing.

    python evaluate_transformers.py --model ../models/fovea-base --questions ../eval/questions.jsonl

Prints exact match by category (lower case, punctuation stripped), of descriptions also the share of things that they
name, and can write every answer with its token ids. A question may show several pictures, or none.
"""

import argparse
import json
import string
from collections import Counter
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

NEW_TOKENS = 96


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def plain(text: str) -> str:
    return " ".join(text.lower().translate(str.maketrans("", "", string.punctuation)).split())


def pictures_of(question: dict) -> tuple[str, ...]:
    shown = question.get("image", [])
    return (shown,) if isinstance(shown, str) else tuple(shown)


def named(answer: str, things: list[str]) -> float:
    """Share of the things whose names stand in the answer as whole words."""
    return sum(f" {plain(thing)} " in f" {plain(answer)} " for thing in things) / len(things)


def prompt_of(processor, text: str, pictures: int) -> str:
    turn = [{"role": "user", "content": [{"type": "image"}] * pictures + [{"type": "text", "text": text}]}]
    return processor.apply_chat_template(turn, add_generation_prompt=True)


@torch.inference_mode()
def answer(model, processor, images: list[Image.Image], texts: list[str]) -> list[list[int]]:
    """New token ids for several questions about the same pictures, the end token included."""
    prompts = [prompt_of(processor, text, len(images)) for text in texts]
    inputs = processor(images=images * len(texts) or None, text=prompts, padding=True, return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    end = model.generation_config.eos_token_id
    new = out[:, inputs["input_ids"].shape[1]:].tolist()
    return [row[: row.index(end) + 1] if end in row else row for row in new]


def load(folder: Path):
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    return model, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--images", type=Path, help="default: images/ beside the questions")
    parser.add_argument("--labels", type=Path, help="default: <questions>-labels.jsonl")
    parser.add_argument("--out", type=Path, help="write question_id, token_ids and answer, one JSON object a line")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--misses", type=int, default=20, help="how many wrong answers to print")
    options = parser.parse_args()

    questions = read_lines(options.questions)[: options.limit]
    labels_file = options.labels or options.questions.with_name(options.questions.stem + "-labels.jsonl")
    labels = {row["question_id"]: row for row in read_lines(labels_file)}
    images = options.images or options.questions.parent / "images"
    model, processor = load(options.model)

    rows, right, asked, misses, described = [], Counter(), Counter(), [], []
    for names in sorted({pictures_of(question) for question in questions}):
        group = [question for question in questions if pictures_of(question) == names]
        pictures = [Image.open(images / name) for name in names]
        answers = answer(model, processor, pictures, [question["text"] for question in group])
        for question, ids in zip(group, answers):
            text = processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
            label = labels[question["question_id"]]
            correct = plain(text) == plain(label["answer"])
            if "things" in label:
                described.append(named(text, label["things"]))
            asked[question["category"]] += 1
            right[question["category"]] += correct
            if not correct:
                misses.append(f"  {' '.join(names)} {question['text']} -> {text} (right: {label['answer']})")
            rows.append({"question_id": question["question_id"], "token_ids": ids, "answer": text})
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("".join(json.dumps(row) + "\n" for row in sorted(rows, key=lambda r: r["question_id"])))
    print("\n".join(misses[: options.misses]))
    for category in asked:
        print(f"{category:10} {right[category]:5}/{asked[category]:<5} {right[category] / asked[category]:.4f}")
    total, correct = sum(asked.values()), sum(right.values())
    print(f"{'all':10} {correct:5}/{total:<5} {correct / total:.4f}")
    if described:
        print(f"things named in descriptions {sum(described) / len(described):.4f}")


if __name__ == "__main__":
    main()
