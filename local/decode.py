#!/usr/bin/env python3
"""Decode parts with a trained system and score them (stage 9).

Epochs count from 1; --epoch 30 --avg 5 decodes with the mean of epochs 26 to
30. All methods share one pass of the encoder. Leaves recogs, errs and
cer-summary files in EXP/METHOD/ and a record of each result, with all that it
depends on, in EXP/results.json.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, number, run  # noqa: E402


def get_parser() -> ArgumentParser:
    from gmot.bootstrap import UNITS

    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--exp-dir", required=True, help="folder of one system")
    parser.add_argument(
        "--epoch", type=number(int, 1), help="last epoch to use, from 1; default: the last"
    )
    parser.add_argument(
        "--avg", type=number(int, 1), default=1, help="epochs to average, --epoch included"
    )
    parser.add_argument("--prefix", required=True, help="first part of the cuts' names")
    parser.add_argument("--fbank-dir", required=True, help="has the cuts and features")
    parser.add_argument("--parts", nargs="+", default=["dev", "test"])
    parser.add_argument("--lang-dir", required=True, help="that of the training")
    parser.add_argument("--graph-dir", help="has H.pt, HLG.pt and G.pt")
    parser.add_argument(
        "--decoding-methods",
        nargs="+",
        default=["ctc-greedy-search"],
        help="of: ctc-greedy-search; ctc-prefix-beam-search; and with k2: ctc-decoding (H); 1best, "
        "nbest, nbest-oracle (HLG); nbest-rescoring, whole-lattice-rescoring (G instead of HLG's "
        "language model); plm-rescoring (and a masked language model)",
    )
    parser.add_argument(
        "--max-duration",
        type=number(float, 0, above=True),
        default=100.0,
        help="seconds of speech in a batch",
    )
    parser.add_argument("--num-workers", type=number(int, 0), default=0, help="loading processes")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... or auto")
    parser.add_argument(
        "--unit",
        choices=UNITS,
        default="utterance",
        help="resampled for the intervals that are logged; results.json has those of both units",
    )
    parser.add_argument(
        "--num-threads", type=number(int, 0), default=0, help="of torch; 0: all cores"
    )
    parser.add_argument(
        "--beam-size", type=number(int, 1), default=4, help="texts that prefix beam search keeps"
    )

    group = parser.add_argument_group("search of HLG")
    group.add_argument(
        "--hlg-scale",
        type=number(float, 0),
        nargs="+",
        default=[0.6],
        help="weight of its language model against the acoustic model; of several the best one on "
        "--scale-part",
    )
    group.add_argument(
        "--search-beam",
        type=number(float, 0, above=True),
        default=20.0,
        help="larger: slower, more exact",
    )
    group.add_argument(
        "--output-beam", type=number(float, 0, above=True), default=8.0, help="of the lattice"
    )
    group.add_argument(
        "--min-active-states",
        type=number(int, 0),
        default=30,
        help="per frame, and below --max-active-states",
    )
    group.add_argument(
        "--max-active-states",
        type=number(int, 1, 10**6),
        default=10000,
        help="per frame; lower it to save memory",
    )
    group.add_argument(
        "--search-memory",
        type=number(float, 0, above=True),
        default=6.0,
        metavar="GB",
        help="that the search may need: a batch is searched in parts, an utterance that does not "
        "fit alone with fewer active states, by its own length (counted in results.json)",
    )

    group = parser.add_argument_group("n-best lists and rescoring")
    group.add_argument(
        "--num-paths", type=number(int, 1), default=100, help="drawn for an n-best list"
    )
    group.add_argument(
        "--nbest-scale",
        type=number(float, 0, above=True),
        default=0.5,
        help="the smaller, the more they differ",
    )
    group.add_argument(
        "--scale-part",
        default="dev",
        help="weights of language models are found on this part, kept in EXP/scales.json, and "
        "used on the others",
    )
    group.add_argument("--teacher", help="plm-rescoring: a folder or hub's name")
    group.add_argument(
        "--num-plm-paths",
        type=number(int, 1),
        default=20,
        help="the best ones, which plm-rescoring weighs",
    )
    return parser


def main() -> None:
    args = get_parser().parse_args()
    from gmot.training.decoding import decode

    decode(args)


if __name__ == "__main__":
    run(main)
