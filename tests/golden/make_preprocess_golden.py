#!/usr/bin/env python3
"""Writes tests/golden/preprocess: what Pillow and transformers make of pictures.

Needs pillow, numpy and transformers 5 (no PyTorch), then:  python3 make_preprocess_golden.py

  cases.json           pictures by formula (the C++ test computes the same ones), processor
                       configurations, and the SHA-256 of every result
  *.npy                every 83rd value of a result, to say how far off a wrong one is
  pictures/            small files of every kind that is decoded; NAME.expected.png holds what
                       Pillow reads from NAME
"""

import hashlib

import json
import pathlib
import struct
import zlib

import numpy as np
import PIL
import transformers
from PIL import Image, ImageOps
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

FOLDER = pathlib.Path(__file__).parent / "preprocess"
SAMPLE_STEP = 83


def pattern(width: int, height: int, seed: int, channels: int = 3) -> np.ndarray:
    """Noise, ramps and hard edges side by side; the same formula stands in preprocess_test.cpp."""
    y, x, c = np.meshgrid(
        np.arange(height, dtype=np.uint32), np.arange(width, dtype=np.uint32),
        np.arange(channels, dtype=np.uint32), indexing="ij")
    noise = (x * 73856093) ^ (y * 19349663) ^ (c * 83492791) ^ np.uint32(seed * 2654435761 % 2**32)
    noise ^= noise >> 13
    noise *= np.uint32(0x5BD1E995)
    noise ^= noise >> 15
    ramp = x * 3 + y * 5 + c * 40
    edges = ((x // 16 + y // 16) & 1) * 255
    kind = (x // 32 + y // 24) % 3
    value = np.where(kind == 0, noise & 255, np.where(kind == 1, ramp & 255, edges))
    return value.astype(np.uint8)


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def config(**changes) -> dict:
    """llava-hf's preprocessor_config.json."""
    fields = {
        "crop_size": {"height": 336, "width": 336}, "do_center_crop": True, "do_convert_rgb": True,
        "do_normalize": True, "do_rescale": True, "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "CLIPImageProcessor",
        "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3,
        "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 336}}
    fields.update(changes)
    return {key: value for key, value in fields.items() if value is not None}


PAD = {"do_pad": True, "image_processor_type": "LlavaImageProcessor"}

# name: (width, height or a file of pictures/, configuration)
PREPARED = {
    "landscape": (640, 480, config()),
    "portrait": (480, 640, config()),
    "photo": (4000, 3000, config()),
    "enlarged": (100, 75, config()),
    "one_column_over": (337, 336, config()),
    "exact": (336, 336, config()),
    "wide": (1023, 211, config()),
    "thin": (17, 501, config()),
    "tiny": (1, 7, config()),
    "grey": ("grey.png", config()),
    "alpha": ("rgba.png", config()),
    "padded_wide": (640, 361, config(**PAD)),
    "padded_tall": (212, 499, config(**PAD)),
    "bilinear": (500, 301, config(resample=2)),
    "lanczos": (500, 301, config(resample=1)),
    "nearest": (500, 301, config(resample=0)),
    "crop_of_odd_size": (401, 300, config(size=256, crop_size=225)),
    "crop_larger_than_picture": (300, 201, config(size={"shortest_edge": 101},
                                                  crop_size={"height": 140, "width": 227})),
    "fixed_sides": (320, 240, config(size={"height": 96, "width": 160}, do_center_crop=False)),
    "not_resized": (240, 200, config(do_resize=False, crop_size=150)),
    "not_rescaled": (90, 80, config(do_rescale=False, size=64, crop_size=64)),
    "not_normalized": (90, 80, config(do_normalize=False, size=64, crop_size=64)),
    "defaults": (250, 260, {}),
}

# (width, height) -> (width, height), each with every filter
RESIZED = [((640, 480), (448, 336)), ((97, 61), (336, 212)), ((301, 200), (301, 77)),
           ((200, 301), (77, 301)), ((5, 3), (3, 5)), ((1, 1), (9, 4)), ((1000, 9), (3, 40))]
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


def prepared_cases() -> list:
    cases = []
    for seed, (name, (*picture, fields)) in enumerate(PREPARED.items(), start=1):
        case = {"name": name, "config": fields}
        if len(picture) == 2:
            case.update(width=picture[0], height=picture[1], seed=seed)
            image = Image.fromarray(pattern(*picture, seed))
        else:
            case["file"] = picture[0]
            # By ourselves: newer versions of transformers would lay alpha on white.
            image = Image.open(FOLDER / "pictures" / picture[0]).convert("RGB")
        kind = LlavaImageProcessorPil if fields.get("do_pad") else CLIPImageProcessorPil
        known = {key: value for key, value in fields.items() if key != "image_processor_type"}
        values = kind(**known)(image, return_tensors="np")["pixel_values"][0].astype(np.float32)
        case.update(shape=list(values.shape), sha256=sha256(values))
        np.save(FOLDER / f"{name}.npy", values.reshape(-1)[::SAMPLE_STEP])
        cases.append(case)
    return cases


def resized_cases() -> list:
    cases = []
    for seed, (source, result) in enumerate(RESIZED, start=100):
        for name, code in FILTERS.items():
            resized = np.asarray(Image.fromarray(pattern(*source, seed)).resize(result, code))
            cases.append({"source": source, "result": result, "seed": seed, "filter": name,
                          "sha256": sha256(resized)})
    return cases


def write_interlaced(path: pathlib.Path, pixels: np.ndarray) -> None:
    """Adam7, which Pillow reads but does not write."""
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b""
    for left, top, across, down in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
                                    (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        part = pixels[top::down, left::across]
        if part.size:
            rows += b"".join(b"\0" + row.tobytes() for row in part)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    assert (np.asarray(Image.open(path)) == pixels).all()


def write_pictures() -> list:
    """Every kind of file once, small. Returns [name, largest difference allowed]."""
    folder = FOLDER / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    kinds = []

    def write(name: str, image: Image.Image, allowed: int = 0, expected: Image.Image = None, **options):
        image.save(folder / name, **options)
        if expected is None:
            expected = ImageOps.exif_transpose(Image.open(folder / name)).convert("RGB")
        expected.save(folder / f"{name}.expected.png", optimize=True)
        kinds.append([name, allowed])

    def smooth(width: int, height: int) -> Image.Image:
        """What JPEG keeps well: slow ramps, different in every corner."""
        y, x = np.mgrid[0:height, 0:width]
        red, green, blue = 40 + 170 * x / width, 30 + 190 * y / height, 220 - 120 * x / width
        return Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8))

    noisy = Image.fromarray(pattern(52, 40, 7, 4), "RGBA")
    write("rgb.png", noisy.convert("RGB"))
    write("rgba.png", noisy)
    write("grey.png", Image.fromarray(pattern(45, 31, 8, 1)[..., 0]))
    write("grey_alpha.png", Image.fromarray(pattern(21, 13, 9, 2), "LA"))
    write("palette.png", noisy.convert("RGB").quantize(13))
    write("palette_alpha.png", noisy.convert("RGB").quantize(5), transparency=2)
    write("one_bit.png", Image.fromarray(pattern(19, 11, 10, 1)[..., 0]).convert("1"))
    wide = pattern(18, 12, 11, 1)[..., 0].astype(np.uint16) * 256 + 77
    # The upper byte, as Pillow does for 16-bit colour; its grey 16 bits it would clip to white.
    write("grey_16_bits.png", Image.fromarray(wide), expected=Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB"))
    interlaced = pattern(10, 9, 6)
    write_interlaced(folder / "interlaced.png", interlaced)
    Image.fromarray(interlaced).save(folder / "interlaced.png.expected.png", optimize=True)
    kinds.append(["interlaced.png", 0])
    upright = smooth(14, 10)
    turned = Image.Exif()
    turned[0x0112] = 6
    write("turned.png", upright, exif=turned)

    write("rgb.bmp", noisy.convert("RGB"))
    write("rgba.bmp", noisy.crop((0, 0, 9, 8)))
    write("grey.bmp", Image.fromarray(pattern(45, 31, 12, 1)[..., 0]))
    write("one_bit.bmp", Image.fromarray(pattern(19, 11, 13, 1)[..., 0]).convert("1"))

    # JPEG decoders may round differently, and smooth enlarged colours in their own ways.
    picture = smooth(70, 50)
    write("colour.jpg", picture, 4, quality=92)
    write("full_chroma.jpg", picture, 3, quality=92, subsampling=0)
    write("progressive.jpg", picture, 4, quality=92, progressive=True)
    write("restarts.jpg", picture, 4, quality=92, restart_marker_blocks=2)
    write("grey.jpg", picture.convert("L"), 3, quality=92)
    write("cmyk.jpg", picture.convert("CMYK"), 6, quality=95)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        write(f"orientation_{orientation}.jpg", smooth(24, 17), 4, quality=92, subsampling=0, exif=exif)
    return kinds


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    cases = {
        "made_with": {"pillow": PIL.__version__, "transformers": transformers.__version__},
        "sample_step": SAMPLE_STEP,
        "pictures": write_pictures(),
        "prepared": prepared_cases(),
        "resized": resized_cases(),
    }
    lines = ["{"]
    for key, value in cases.items():
        if isinstance(value, list):
            rows = ",\n".join("  " + json.dumps(row) for row in value)
            lines.append(f' "{key}": [\n{rows}\n ],')
        else:
            lines.append(f' "{key}": {json.dumps(value)},')
    lines[-1] = lines[-1].rstrip(",")
    (FOLDER / "cases.json").write_text("\n".join(lines) + "\n}\n")
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    print(f"{FOLDER}: {size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
