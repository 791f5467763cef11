#!/usr/bin/env python3
"""Compute the teacher's features of the training transcripts, once.

Each different sentence is run through the frozen language model and the hidden
states of one layer are kept in half precision. The folder appears when it is
complete; one that is there is replaced.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, layer, number, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", required=True, help="first part of the file names")
    parser.add_argument("--train-part", default="train", help="whose transcripts")
    parser.add_argument("--manifest-dir", required=True, help="holds the manifests")
    parser.add_argument("--teacher", required=True, help="Hugging Face folder, or a model's name")
    parser.add_argument(
        "--layer",
        type=layer,
        default="last",
        help="hidden states to keep: a number (0: the embeddings) or last",
    )
    parser.add_argument("--store", required=True, help="folder to make")
    parser.add_argument(
        "--random-weights", action="store_true", help="the control: the same model, untrained"
    )
    parser.add_argument("--batch-size", type=number(int, 1), default=32, help="sentences at a time")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... or auto")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging
    import time

    from gmot.data.manifests import load_supervisions
    from gmot.teacher import Teacher, write_store
    from gmot.training.environment import choose_device

    texts = [text for _, text in load_supervisions(args.manifest_dir, args.prefix, args.train_part)]
    device = choose_device(args.device)
    teacher = Teacher(args.teacher, args.layer, args.random_weights, device)
    start = time.monotonic()
    count = write_store(args.store, teacher, texts, args.batch_size)
    seconds = time.monotonic() - start
    logging.info(
        "%s: layer %d of the %d of %s%s, %d dimensions, %d sentences (of %d utterances), %.0f per "
        "second on %s",
        args.store,
        teacher.layer,
        teacher.num_layers,
        args.teacher,
        " with random weights" if args.random_weights else "",
        teacher.dim,
        count,
        len(texts),
        count / max(seconds, 1e-9),
        device,
    )


if __name__ == "__main__":
    run(main)
