"""Compile the decoding graphs H (CTC topology), HLG (with lexicon and LM) and G (larger LM).

Needs k2. The graphs are bound to the tokens and words of the lang folder and refused with others.
Greedy and prefix beam search need no graphs.
"""

from gmot.bin._options import make_parser
from gmot.cli import ArgumentParser, PositiveInt


def get_parser() -> ArgumentParser:
    parser = make_parser(__doc__, "--lang-dir")
    parser.add_argument("--arpa", required=True, help="n-gram LM of HLG")
    parser.add_argument("--rescore-arpa", help="larger n-gram LM, for G; default: --arpa")
    parser.add_argument(
        "--topology",
        default="modified",
        help="CTC topology of H and HLG: modified (paths outside of the standard topology are "
        "removed from lattices) or full (the standard topology). Results are equal within the "
        "beams, size and speed are not (docs/decoding.md)",
    )
    parser.add_argument(
        "--max-arcs",
        type=PositiveInt,
        default=200_000_000,
        help="maximum number of arcs; the default takes 17 GB of memory for compilation",
    )
    parser.add_argument("--graph-dir", required=True, help="folder for H.pt, HLG.pt and G.pt")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging
    from pathlib import Path

    from gmot.decode.fsa_graphs import compile_h, compile_hlg, save_graph
    from gmot.decode.grammar import compile_g
    from gmot.decode.topology import check_topology
    from gmot.text.lexicon import Lexicon
    from gmot.text.tokens import TokenTable, WordTable

    check_topology(args.topology)
    lang_dir = Path(args.lang_dir)
    tokens = TokenTable.load(lang_dir / "tokens.txt")
    words = WordTable.load(lang_dir / "words.txt")
    lexicon = Lexicon.load(lang_dir / "lexicon.txt")

    def save(name, graph, *tables, topology=None):
        path = Path(args.graph_dir) / name
        save_graph(path, graph, *tables, topology=topology)
        arcs, size = f"{graph.num_arcs:,}", path.stat().st_size / 1e6
        logging.info("%s: %s arcs, %.1f MB", path, arcs, size)

    # HLG takes many times the memory of the others.
    save("G.pt", compile_g(words, args.rescore_arpa or args.arpa), None, words)
    hlg = compile_hlg(lexicon, tokens, words, args.arpa, args.topology, args.max_arcs)
    save("HLG.pt", hlg, tokens, words, topology=args.topology)
    del hlg
    h = compile_h(len(tokens), args.topology, args.max_arcs)
    save("H.pt", h, tokens, topology=args.topology)
