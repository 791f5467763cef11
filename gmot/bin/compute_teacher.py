"""Compute and store the teacher's features of the training transcripts, and of dev's.

Each distinct sentence is run through the frozen language model, an encoder or a causal one; the
hidden states of one layer are stored in half precision, one row per token of the lang folder. The
folder appears when it is complete, and replaces an earlier one. An interrupted run is resumed by
the same command.
"""

from gmot.bin._options import add_options, make_parser
from gmot.cli import ArgumentParser, Layer, PositiveInt


def get_parser() -> ArgumentParser:
    parser = make_parser(__doc__, "--prefix", "--manifest-dir", "--lang-dir", "--device")
    add_options(parser, "--teacher", required=True)
    add_options(parser, "--train-split", help="split of the transcripts")
    parser.add_argument(
        "--other-splits",
        nargs="*",
        default=[],
        help="more splits, such as dev: for its transfer losses and couplings",
    )
    parser.add_argument(
        "--layer",
        type=Layer,
        default="last",
        help="layer whose hidden states are stored: a number (0: embeddings) or last",
    )
    parser.add_argument("--store", required=True, help="output folder")
    parser.add_argument("--random-weights", action="store_true", help="untrained model (ablation)")
    parser.add_argument("--batch-size", type=PositiveInt, default=32, help="sentences")
    parser.add_argument(
        "--num-jobs",
        type=PositiveInt,
        default=1,
        help="processes on the CPU, with a copy of the model each; a GPU is used by one",
    )
    add_options(parser, "--executor")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging
    import time
    from collections import Counter

    from gmot.data.manifests import load_supervisions
    from gmot.provenance import choose_device
    from gmot.teacher import Teacher, write_store
    from gmot.text.units import Pieces, load_units

    splits = (args.train_split, *args.other_splits)
    texts = [t for s in splits for _, t in load_supervisions(args.manifest_dir, args.prefix, s)]
    # On a cluster each worker has a device of its own.
    device = choose_device("cpu" if args.executor else args.device)
    teacher = Teacher(args.teacher, args.layer, args.random_weights, device)
    units = load_units(args.lang_dir, lambda: teacher.tokenizer)
    spelled = Pieces(teacher.tokenizer)
    lacking = Counter(run for text in dict.fromkeys(texts) for run in spelled.unknown(text))
    if lacking:
        examples = ", ".join(run for run, _ in lacking.most_common(10))
        logging.warning(
            "%s: its tokenizer lacks %d words or characters (%d distinct: %s), which have the "
            "features of its unknown token",
            *(args.teacher, sum(lacking.values()), len(lacking), examples),
        )
    start = time.monotonic()
    count = write_store(
        args.store,
        teacher,
        units,
        texts,
        args.batch_size,
        num_jobs=args.num_jobs if device.type == "cpu" else 1,
        executor=args.executor,
        device=args.device,
    )
    rate = count / max(time.monotonic() - start, 1e-9)
    logging.info(
        "%s: layer %d of %d of %s%s, %d dimensions, %d sentences (of %d utterances), %.0f per "
        "second on %s",
        *(args.store, teacher.layer, teacher.num_layers, args.teacher),
        " with random weights" if args.random_weights else "",
        *(teacher.dim, count, len(texts), rate, args.executor or device),
    )
