"""Makes tests/golden/fovea-base/answers.jsonl and that of fovea-guide: what transformers answers with
the bundled models.

    python3 tests/golden/make_bundled_golden.py [fovea-base] [fovea-guide]

Needs torch, transformers 5 and Pillow. 100 held-out questions, evenly spread over
assets/eval/questions.jsonl (pictures, clips and plain text), each answered greedily in float32 by
the model's own processor (its chat template, its tokenizer, the Pillow image backend). One JSON
object a line: question_id, image (a list for a clip, absent for plain text), text, prompt_token_ids
(one placeholder for each picture), token_ids (the end token included), answer, and margin: the
smallest lead of a chosen token over the next, over the answer.
Run it again whenever a bundled model changes.
"""

import json
import sys
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoProcessor

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "parity"))
from reference import load_float32, margins  # noqa: E402

QUESTIONS = 100
NEW_TOKENS = 48


@torch.inference_mode()
def answer(model, processor, images, text):
    content = [{"type": "image"}] * len(images) + [{"type": "text", "text": text}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(images=images or None, text=prompt, return_tensors="pt")
    out = model.generate(
        **inputs, max_new_tokens=NEW_TOKENS, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    prompt_ids = inputs["input_ids"][0].tolist()
    token_ids = out.sequences[0, len(prompt_ids) :].tolist()
    image_id = model.config.image_token_id
    one_placeholder = [t for t, before in zip(prompt_ids, [None] + prompt_ids) if not t == before == image_id]
    return {
        "prompt_token_ids": one_placeholder,
        "token_ids": token_ids,
        "answer": processor.tokenizer.decode(token_ids, skip_special_tokens=True).strip(),
        "margin": round(margins(torch.cat(out.logits).float()).min().item(), 4),
    }


def write_answers(name):
    folder = ROOT / "assets/models" / name
    questions = [json.loads(line) for line in (ROOT / "assets/eval/questions.jsonl").read_text().splitlines()]
    chosen = questions[:: len(questions) // QUESTIONS][:QUESTIONS]
    processor = AutoProcessor.from_pretrained(folder, backend="pil")
    model = load_float32(str(folder)).eval()
    lines = []
    for question in chosen:
        names = question.get("image", [])
        names = [names] if isinstance(names, str) else names
        images = [Image.open(ROOT / "assets/eval/images" / file).convert("RGB") for file in names]
        kept = {key: question[key] for key in ("question_id", "image", "text") if key in question}
        lines.append(kept | answer(model, processor, images, question["text"]))
    out = HERE / name / "answers.jsonl"
    out.parent.mkdir(exist_ok=True)
    out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    print(f"{name}: {len(lines)} answers, smallest margin {min(line['margin'] for line in lines)}")


if __name__ == "__main__":
    for chosen_name in sys.argv[1:] or ("fovea-base", "fovea-guide"):
        write_answers(chosen_name)
