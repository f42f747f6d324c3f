"""Token ids and decoded texts of Python's sentencepiece, for tests/vlm/tokenizer_test.cpp.

    python tests/golden/make_tokenizer_golden.py assets/models/fovea-base/tokenizer.model \
        tests/golden/tokenizer/fovea-base.json

Run it again, for each tokenizer the tests know, whenever that tokenizer or the list of texts changes.
"""

import argparse
import hashlib
import json
from pathlib import Path

import sentencepiece

TEXTS = [
    "",
    " ",
    "   ",
    "\n",
    "\n\n",
    "\t",
    "a",
    "Hello world",
    " Hello world",
    "  Hello  world  ",
    "trailing space ",
    "trailing spaces   ",
    "\nWhat",
    "\nWhat is in the picture? ASSISTANT:",
    "USER:",
    "USER: ",
    "USER: What colour is the car? ASSISTANT:",
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions. USER: ",
    "\nAnswer the question using a single word or phrase. ASSISTANT:",
    "[INST] ",
    "<|im_start|>user\n",
    "</s>",
    "<s>",
    "<unk>",
    "<image>",
    "<0x0A>",
    "before</s>after",
    "USER: is \"<image>\" a </s> token? ASSISTANT:",
    "1234567890",
    "3.14159 and 2,718",
    "don't can't won't it's",
    "naïve café Ångström",
    "你好，世界",
    "图片里有什么？",
    "日本語のテキスト",
    "한국어 텍스트",
    "Привет, мир",
    "مرحبا بالعالم",
    "שלום",
    "हिन्दी",
    "🙂",
    "🙂🙃 mixed 🚀 emoji",
    "👩‍👩‍👧‍👦",
    "🏳️‍🌈",
    "e\u0301",
    "\u00a0non-breaking\u00a0space",
    "\u2581already marked\u2581",
    "\u200bzero width",
    "\ufeffmark",
    "\ufffd",
    "𝕬𝖇𝖈 𐍈 🜁",
    "tab\tand\r\nline ends\r",
    "a\x01b\x7fc",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "int main() { return 0; }  // code",
    "https://example.org/a?b=c&d=e#f",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(options.model))
    cases = []
    for text in TEXTS:
        ids = tokenizer.encode(text)
        cases.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids)})
    golden = {
        "sentencepiece": sentencepiece.__version__,
        "model_sha256": hashlib.sha256(options.model.read_bytes()).hexdigest(),
        "bos": tokenizer.bos_id(),
        "eos": tokenizer.eos_id(),
        "pieces": tokenizer.vocab_size(),
        "cases": cases,
    }
    lines = ",\n".join("  " + json.dumps(case, ensure_ascii=True) for case in golden.pop("cases"))
    head = json.dumps(golden)[:-1]
    options.out.write_text(f'{head}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
