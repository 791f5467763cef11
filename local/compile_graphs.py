#!/usr/bin/env python3
"""Compile the decoding graphs H (CTC topology), HLG (with lexicon and language model) and
G (the larger language model, for rescoring).

Needs k2. Greedy search does without these graphs. They are tied to the
tokens and words of the lang folder and refused with any other.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gmot.cli import ArgumentParser, run  # noqa: E402


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--lang-dir", required=True, help="has tokens, words and lexicon")
    parser.add_argument("--arpa", required=True, help="language model over the words, for HLG")
    parser.add_argument("--rescore-arpa", help="larger language model, for G; default: --arpa")
    parser.add_argument("--graph-dir", required=True, help="gets H.pt, HLG.pt and G.pt")
    return parser


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from gmot.decode.graphs import compile_g, compile_h, compile_hlg, save_graph
    from gmot.text.lexicon import Lexicon
    from gmot.text.tokens import TokenTable, WordTable

    lang_dir, graph_dir = Path(args.lang_dir), Path(args.graph_dir)
    tokens = TokenTable.load(lang_dir / "tokens.txt")
    words = WordTable.load(lang_dir / "words.txt")
    lexicon = Lexicon.load(lang_dir / "lexicon.txt")
    h = compile_h(len(tokens))
    logging.info("H: %d tokens, %d arcs", len(tokens), h.num_arcs)
    hlg = compile_hlg(lexicon, tokens, words, args.arpa)
    g = compile_g(words, args.rescore_arpa or args.arpa)
    save_graph(graph_dir / "H.pt", h, tokens)
    save_graph(graph_dir / "HLG.pt", hlg, tokens, words)
    save_graph(graph_dir / "G.pt", g, None, words)
    logging.info("G: %d arcs", g.num_arcs)
    logging.info("%s: HLG: %d words, %d arcs", graph_dir, len(lexicon), hlg.num_arcs)


if __name__ == "__main__":
    run(main)
