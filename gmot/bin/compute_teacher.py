"""Compute and store the teacher's features of the training transcripts.

Each distinct sentence is run through the frozen language model; the hidden states of one layer
are stored in half precision. The folder appears when it is complete, and replaces an earlier one.
"""

from gmot.bin._options import add_options, make_parser
from gmot.cli import ArgumentParser, Layer, PositiveInt


def get_parser() -> ArgumentParser:
    parser = make_parser(__doc__, "--prefix", "--manifest-dir", "--teacher", "--device")
    add_options(parser, "--train-split", help="split of the transcripts")
    parser.add_argument(
        "--layer",
        type=Layer,
        default="last",
        help="layer whose hidden states are stored: a number (0: embeddings) or last",
    )
    parser.add_argument("--store", required=True, help="output folder")
    parser.add_argument("--random-weights", action="store_true", help="untrained model (ablation)")
    parser.add_argument("--batch-size", type=PositiveInt, default=32, help="sentences")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging
    import time

    from gmot.data.manifests import load_supervisions
    from gmot.provenance import choose_device
    from gmot.teacher import Teacher, write_store

    texts = [t for _, t in load_supervisions(args.manifest_dir, args.prefix, args.train_split)]
    device = choose_device(args.device)
    teacher = Teacher(args.teacher, args.layer, args.random_weights, device)
    start = time.monotonic()
    count = write_store(args.store, teacher, texts, args.batch_size)
    rate = count / max(time.monotonic() - start, 1e-9)
    logging.info(
        "%s: layer %d of %d of %s%s, %d dimensions, %d sentences (of %d utterances), %.0f per "
        "second on %s",
        *(args.store, teacher.layer, teacher.num_layers, args.teacher),
        " with random weights" if args.random_weights else "",
        *(teacher.dim, count, len(texts), rate, device),
    )
