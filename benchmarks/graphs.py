"""CTC topologies of HLG: size, compilation time, search speed, character errors.

Without --exp-dir, the language consists of words with a Zipf distribution over --num-tokens
characters, or is taken from --text, and the posteriors are peaks in noise: each character of a
reference has one or two frames, with one blank between repeated characters and none to two
elsewhere; a share of the peaks is at another character. With --exp-dir, a trained model decodes
its splits by local/decode.py, with graphs of --lang-dir and --arpa.
"""

import argparse
import json
import logging
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from gmot.common import read_json, run, write_json  # noqa: E402
from gmot.decode.api import Decoder  # noqa: E402
from gmot.decode.config import DecodingConfig  # noqa: E402
from gmot.decode.fsa_graphs import compile_hlg, save_graph  # noqa: E402
from gmot.decode.topology import TOPOLOGIES  # noqa: E402
from gmot.provenance import environment  # noqa: E402
from gmot.text.lexicon import Lexicon  # noqa: E402
from gmot.text.ngram import train  # noqa: E402
from gmot.text.tokens import TokenTable, WordTable  # noqa: E402

FRAME = 0.04  # seconds of speech
Row = dict[str, Any]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--topologies", nargs="+", default=list(TOPOLOGIES), choices=TOPOLOGIES)
    add("--work-dir", type=Path, required=True, help="folder for language, graphs and measurements")
    add("--output", type=Path, help="Markdown file; default: printed only")
    add("--num-threads", type=int, default=1)
    group = parser.add_argument_group("synthetic posteriors").add_argument
    group("--text", type=Path, help="sentences, one per line; words are separated by spaces, "
          "or are characters")  # fmt: skip
    group("--num-tokens", type=int, default=4300, help="without --text")
    group("--num-words", type=int, default=20000, help="without --text")
    group("--num-sentences", type=int, default=40000, help="without --text")
    group("--num-utterances", type=int, default=20, help="held-out sentences to decode")
    group(
        "--peaks", type=float, nargs="+", default=[14, 20], help="logits of the peaks; one row each"
    )
    group("--noise", type=float, default=2.0, help="standard deviation of the other logits")
    group("--wrong", type=float, default=0.1, help="share of wrong peaks")
    group("--hlg-scale", type=float, default=0.3)
    group = parser.add_argument_group("a trained model").add_argument
    group("--exp-dir", type=Path)
    group("--lang-dir", type=Path)
    group("--arpa", type=Path)
    group(
        "--decode-options",
        default="",
        help="of local/decode.py: --prefix, --fbank-dir, ...",
    )
    add("--step", nargs=2, metavar=("STEP", "TOPOLOGY"), help=argparse.SUPPRESS)
    return parser


# --- a language ---------------------------------------------------------------------------------


def made_up_sentences(num_tokens: int, num_words: int, count: int) -> list[list[str]]:
    """Sentences of words with a Zipf distribution and bigram dependencies."""
    rng = np.random.default_rng(0)
    symbols = [chr(0x4E00 + i) for i in range(num_tokens - 2)]  # beside blank and <unk>
    frequency = 1.0 / np.arange(1, len(symbols) + 1) ** 0.9
    frequency /= frequency.sum()
    words = dict.fromkeys(symbols)
    while len(words) < num_words:
        size = rng.choice([2, 2, 2, 3, 4])
        words["".join(symbols[i] for i in rng.choice(len(symbols), size, p=frequency))] = None
    known = list(words)
    order = rng.permutation(len(known))
    zipf = 1.0 / np.arange(1, len(known) + 1)
    zipf /= zipf.sum()
    sentences = []
    for _ in range(count):
        ranks = rng.choice(len(known), rng.integers(3, 12), p=zipf)
        for i in range(1, len(ranks)):
            if rng.random() < 0.6:
                ranks[i] = (7 * ranks[i - 1] + rng.integers(0, 6)) % len(known)
        sentences.append([known[order[rank]] for rank in ranks])
    # Each word once, so that none is unknown.
    return [[word] for word in known] + sentences


def read_sentences(path: Path) -> list[list[str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split() if " " in line.strip() else list(line.strip()) for line in lines if line]


def make_language(args: argparse.Namespace) -> None:
    """Write lexicon, tables, LM and references to the working folder."""
    if args.text:
        sentences = read_sentences(args.text)
    else:
        count = args.num_sentences + args.num_utterances
        sentences = made_up_sentences(args.num_tokens, args.num_words, count)
    training, held_out = sentences[: -args.num_utterances], sentences[-args.num_utterances :]
    lexicon = Lexicon({word: list(word) for sentence in training for word in sentence})
    words = WordTable.from_words(lexicon.words)
    lexicon.save(args.work_dir / "lexicon.txt")
    words.save(args.work_dir / "words.txt")
    pieces = {piece for spelling in lexicon.spellings.values() for piece in spelling}
    TokenTable.from_pieces(pieces).save(args.work_dir / "tokens.txt")
    model = train(training, 3, vocabulary=words.words)
    model.save_arpa(args.work_dir / "lm.arpa")
    known = ["".join(w for w in sentence if w in words) for sentence in held_out]
    write_json(args.work_dir / "references.json", [text for text in known if text])


def posteriors(
    ids: Sequence[int], num_tokens: int, args: argparse.Namespace, peak: float, seed: int
) -> torch.Tensor:
    """Log-probabilities of one utterance: (1, T, C)."""
    rng = np.random.default_rng(seed)
    frames: list[int] = [0]
    for i, token in enumerate(ids):
        frames += [token] * int(rng.integers(1, 3))
        repeated = i + 1 < len(ids) and ids[i + 1] == token
        frames += [0] * max(int(rng.integers(0, 3)), int(repeated))
    logits = args.noise * rng.standard_normal((len(frames), num_tokens))
    moved: dict[int, int] = {}
    for t, token in enumerate(frames):
        if t == 0 or token != frames[t - 1]:
            moved[token] = int(rng.integers(2, num_tokens)) if rng.random() < args.wrong else token
        if token and moved[token] != token:  # the correct one is the second choice
            logits[t, token] = peak - 2
        logits[t, moved[token] if token else 0] = peak
    return torch.tensor(logits, dtype=torch.float32).log_softmax(-1)[None]


# --- steps, each in a process of its own, to measure its peak memory -----------------------------


def language_files(args: argparse.Namespace) -> tuple[Path, Path]:
    return args.lang_dir or args.work_dir, args.arpa or args.work_dir / "lm.arpa"


def make_graph(args: argparse.Namespace, topology: str) -> Row:
    lang_dir, arpa = language_files(args)
    tokens = TokenTable.load(lang_dir / "tokens.txt")
    words = WordTable.load(lang_dir / "words.txt")
    lexicon = Lexicon.load(lang_dir / "lexicon.txt")
    started = time.perf_counter()
    graph = compile_hlg(lexicon, tokens, words, arpa, topology)
    seconds = time.perf_counter() - started
    path = args.work_dir / topology / "HLG.pt"
    save_graph(path, graph, tokens, words, topology)
    return {
        "tokens": len(tokens),
        "states": graph.shape[0],
        "arcs": graph.num_arcs,
        "file_mb": path.stat().st_size / 1e6,
        "make_seconds": seconds,
        "make_gb": peak_gb(),
    }


def search(args: argparse.Namespace, topology: str) -> Row:
    torch.set_num_threads(args.num_threads)
    lang_dir, _ = language_files(args)
    tokens = TokenTable.load(lang_dir / "tokens.txt")
    words = WordTable.load(lang_dir / "words.txt")
    config = DecodingConfig(methods=["1best"], hlg_scale=[args.hlg_scale])
    decoder = Decoder(config, tokens, args.work_dir / topology, words)
    references = read_json(args.work_dir / "references.json")
    found: Row = {}
    for peak in args.peaks:
        errors = length = frames = reduced = lost = 0
        seconds = 0.0
        for seed, text in enumerate(references):
            x = posteriors(tokens.encode(text), len(tokens), args, peak, seed)
            started = time.process_time()  # CPU time: the machine may be shared
            decoded = decoder(x, torch.tensor([x.size(1)]))
            seconds += time.process_time() - started
            errors += int(decoded.candidates["1best"][0].errors(text)[0])
            reduced += len(decoded.reduced_states)
            lost += decoded.no_path["1best"]
            length += len(text)
            frames += x.size(1)
        found[f"peaks of {peak:g}"] = {
            "rtf": seconds / (FRAME * frames),
            "cer": 100 * errors / length,
            "reduced": reduced,
            "lost": lost,
        }
    return {"search": found, "search_gb": peak_gb()}


def decode(args: argparse.Namespace, topology: str) -> Row:
    """local/decode.py, in a copy of the experiment folder."""
    copy = args.work_dir / topology / "exp"
    copy.mkdir(parents=True, exist_ok=True)
    for file in [*args.exp_dir.glob("epoch-*.pt"), args.exp_dir / "config.json"]:
        if file.exists() and not (copy / file.name).exists():
            (copy / file.name).symlink_to(file.resolve())
    options = ["--exp-dir", copy, "--lang-dir", args.lang_dir, "--decoding.methods", "1best"]
    options += ["--graph-dir", args.work_dir / topology, "--num-threads", args.num_threads]
    command = [sys.executable, ROOT / "local" / "decode.py", *options, *args.decode_options.split()]
    subprocess.run([*map(str, command)], check=True)
    records = [r for r in read_json(copy / "results.json") if r["method"] == "1best"]
    found = {
        r["split"]: {
            "rtf": r["rtf_decoding"],
            "cer": r["cer"],
            "reduced": r["num_beam_reduced"],
            "lost": r["num_answered_by_greedy"],
        }
        for r in records
    }
    return {"search": found, "search_gb": max(r["peak_memory_mb"] for r in records) / 1024}


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


STEPS = {"make": make_graph, "search": search, "decode": decode}


def in_process(topology: str, step: str) -> Row:
    command = [sys.executable, __file__, *sys.argv[1:], "--step", step, topology]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


# --- the table ----------------------------------------------------------------------------------


def table(rows: dict[str, Row]) -> str:
    lines = [
        "| topology | states | arcs | file | compiled in | peak | searched | RTF | peak | CER "
        "| beam reduced | no path |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for topology, row in rows.items():
        for name, found in row["search"].items():
            lines.append(
                f"| {topology} | {row['states']:,} | {row['arcs']:,} | {row['file_mb']:,.0f} MB | "
                f"{row['make_seconds']:.0f} s | {row['make_gb']:.1f} GB | {name} | "
                f"{found['rtf']:.3f} | {row['search_gb']:.1f} GB | {found['cer']:.2f} | "
                f"{found['reduced']} | {found['lost']} |"
            )
    return "\n".join(lines)


def page(rows: dict[str, Row]) -> str:
    facts = environment()
    versions = ", ".join(f"{name} {facts[name]}" for name in ("torch", "k2") if facts.get(name))
    command = " ".join(["python", "benchmarks/graphs.py", *sys.argv[1:]])
    tokens = next(iter(rows.values()))["tokens"]
    told = f"{tokens:,} tokens. `{command}`, commit {facts.get('commit')}, {versions}."
    return f"{told}\n\n{table(rows)}\n"


def main() -> None:
    args = get_parser().parse_args()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    if args.step:
        step, topology = args.step
        print(json.dumps(STEPS[step](args, topology)))
        return
    if not args.exp_dir:
        make_language(args)
    rows: dict[str, Row] = {}
    for topology in args.topologies:
        logging.info("%s", topology)
        rows[topology] = in_process(topology, "make")
        rows[topology].update(in_process(topology, "decode" if args.exp_dir else "search"))
        write_json(args.work_dir / "measured.json", rows)
    text = page(rows)
    print(text)
    if args.output:
        args.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run(main)
