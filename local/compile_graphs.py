#!/usr/bin/env python3
"""Compile the decoding graphs H (CTC topology), HLG (with lexicon and language model) and
G (the larger language model, for rescoring).

Needs k2. Greedy search does without these graphs. They are tied to the
tokens and words of the lang folder and refused with any other.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, number, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--lang-dir", required=True, help="has tokens, words and lexicon")
    parser.add_argument("--arpa", required=True, help="language model over the words, for HLG")
    parser.add_argument("--rescore-arpa", help="larger language model, for G; default: --arpa")
    parser.add_argument(
        "--topology",
        default="modified",
        help="CTC topology of HLG and H: modified (k2's; searches remove what the standard one "
        "does not allow), factored or full (k2's standard one). Beams aside the results are the "
        "same; size and speed are not (docs/decoding.md)",
    )
    parser.add_argument(
        "--max-arcs",
        type=number(int, 1),
        help="refuse a graph of more arcs; default: 200 million, 17 GB of memory while it is made",
    )
    parser.add_argument("--graph-dir", required=True, help="gets H.pt, HLG.pt and G.pt")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.decode.grammar import compile_g
    from gmot.decode.graphs import MAX_ARCS, compile_h, compile_hlg, save_graph
    from gmot.decode.topology import check_topology
    from gmot.text.lexicon import Lexicon
    from gmot.text.tokens import TokenTable, WordTable

    check_topology(args.topology)
    lang_dir, graph_dir = Path(args.lang_dir), Path(args.graph_dir)
    tokens = TokenTable.load(lang_dir / "tokens.txt")
    words = WordTable.load(lang_dir / "words.txt")
    lexicon = Lexicon.load(lang_dir / "lexicon.txt")
    max_arcs = MAX_ARCS if args.max_arcs is None else args.max_arcs

    def save(name, graph, *tables, topology=None):
        path = graph_dir / name
        save_graph(path, graph, *tables, topology=topology)
        size = path.stat().st_size / 1e6
        logging.info("%s: %s arcs, %.1f MB", path, f"{graph.num_arcs:,}", size)

    # One after the other: HLG takes the memory of the others many times over.
    save("G.pt", compile_g(words, args.rescore_arpa or args.arpa), None, words)
    hlg = compile_hlg(lexicon, tokens, words, args.arpa, args.topology, max_arcs)
    save("HLG.pt", hlg, tokens, words, topology=args.topology)
    del hlg
    h = compile_h(len(tokens), args.topology, max_arcs)
    save("H.pt", h, tokens, topology=args.topology)


if __name__ == "__main__":
    run(main)
