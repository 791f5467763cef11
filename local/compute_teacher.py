#!/usr/bin/env python3
"""Compute the teacher's features of the training transcripts, once.

Each different sentence is run through the frozen language model and the hidden
states of one layer are kept in half precision. The folder appears when it is
complete; one that is there is replaced.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", required=True, help="first part of the file names")
    parser.add_argument("--train-part", default="train", help="whose transcripts")
    parser.add_argument("--manifest-dir", required=True, help="holds the manifests")
    parser.add_argument("--teacher", required=True, help="Hugging Face folder, or a model's name")
    parser.add_argument("--layer", type=int, help="hidden state; without it the last layer's")
    parser.add_argument("--store", required=True, help="folder to make")
    parser.add_argument(
        "--random-weights", action="store_true", help="the control: the same model, untrained"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="sentences at a time")
    parser.add_argument("--device", default="cpu", help="for example cuda")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging
    import time

    from gmot.data.manifests import load_supervisions
    from gmot.teacher import Teacher, write_store

    texts = [text for _, text in load_supervisions(args.manifest_dir, args.prefix, args.train_part)]
    teacher = Teacher(args.teacher, args.layer, args.random_weights, args.device)
    start = time.monotonic()
    count = write_store(args.store, teacher, texts, args.batch_size)
    seconds = time.monotonic() - start
    logging.info(
        "%s: layer %d of %s%s, %d dimensions, %d sentences (of %d utterances), %.0f a second",
        args.store,
        teacher.layer,
        args.teacher,
        " with random weights" if args.random_weights else "",
        teacher.dim,
        count,
        len(texts),
        count / max(seconds, 1e-9),
    )


if __name__ == "__main__":
    run(main)
