"""Start of a training on a corpus of AISHELL's size: CPU seconds and memory.

Makes a manifest of --cuts cuts (a third of them distinct texts, each at three speeds), a tokenizer
and a lang folder in a temporary folder; then, in a fresh process, reads them as local/train.py
does, tokenizes, filters, and loads batches with two loading processes.
"""

import argparse
import gzip
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from gmot.common import fingerprint, run, write_json  # noqa: E402

SHARDS, BINS, LONGEST = 100, 80, 1500  # frames of an archive
CHARACTERS = [chr(0x4E00 + n) for n in range(4200)]
NUM_BATCHES = 1500  # read before memory is measured again


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=360_000)
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="made before, or kept; default: temporary")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    return parser


def make(folder: Path, num_cuts: int) -> None:
    """Cuts, archives, statistics, tokenizer and tokens."""
    from small_bert import save_small_bert

    from gmot.text.tokens import TokenTable
    from gmot.text.units import Characters, save_units

    save_small_bert(folder / "teacher", CHARACTERS)
    TokenTable.from_pieces(CHARACTERS).save(folder / "lang" / "tokens.txt")
    save_units(Characters(), folder / "lang")
    write_json(folder / "toy_cmvn.json", {"mean": [0.0] * BINS, "std": [1.0] * BINS})
    (folder / "toy_feats_train").mkdir()
    rng = np.random.default_rng(0)
    for shard in range(SHARDS):
        matrix = rng.normal(size=(LONGEST, BINS)).astype("<f2")
        (folder / f"toy_feats_train/shard-{shard:03d}.f16").write_bytes(matrix.tobytes())
    with gzip.open(
        folder / "toy_cuts_train.jsonl.gz", "wt", encoding="utf-8", compresslevel=1
    ) as f:
        for speed in ("", "_sp0.9", "_sp1.1"):
            rng = np.random.default_rng(1)
            for n in range(num_cuts // 3):
                samples = int(rng.gamma(9, 0.5) * 16000) % (16000 * 14) + 16000
                picked = rng.integers(len(CHARACTERS), size=int(samples / 16000 * 3.3))
                text = "".join(CHARACTERS[i] for i in picked)
                factor = float(speed[3:] or 1)
                f.write(json.dumps(cut(n, speed, round(samples / factor), text)) + "\n")


def cut(number: int, speed: str, samples: int, text: str) -> dict:
    """Record of an utterance, as the fbank stage writes it."""
    name = f"BAC009S{number % 400:04d}W{number:06d}{speed}"
    seconds, frames = samples / 16000, (samples + 80) // 160
    span = {"start": 0.0, "duration": seconds}
    speaker = f"S{number % 400:04d}"
    features = {"num_frames": frames, "num_features": BINS, "frame_shift": 0.01, **span}
    source = {"type": "file", "channels": [0], "source": f"/corpora/aishell/wav/{name}.wav"}
    transform = {"name": "Speed", "kwargs": {"factor": float(speed[3:] or 1)}}
    supervision = {"id": name, "recording_id": name, **span, "channel": 0, "text": text}
    return {
        "id": name, **span, "channel": 0,
        "supervisions": [{**supervision, "speaker": speaker}],
        "features": {
            "type": "kaldi-fbank", **features, "sampling_rate": 16000,
            "storage_type": "gmot_half_archive",
            "storage_path": f"toy_feats_train/shard-{number % SHARDS:03d}.f16",
            "storage_key": f"0:{frames}:{BINS}", "recording_id": name, "channels": 0,
        },
        "recording": {
            "id": name, "sources": [source], "sampling_rate": 16000, "num_samples": samples,
            "duration": seconds, "channel_ids": [0], "transforms": [transform] if speed else [],
        },
        "type": "MonoCut",
    }  # fmt: skip


def measure(folder: Path, num_workers: int) -> None:
    """Start the data side and print what it costs."""
    steps = [("start of Python", 0.0)]

    def step(name: str) -> None:
        steps.append((name, time.process_time()))

    from gmot.bin.train import get_parser as train_parser
    from gmot.model.subsampling import output_length
    from gmot.training.setup import read_inputs

    options = [
        *("--exp-dir", folder / "exp", "--fbank-dir", folder, "--lang-dir", folder / "lang"),
        *("--teacher", folder / "teacher", "--prefix", "toy", "--transfer.objective", "none"),
        *("--data.num_workers", num_workers, "--data.max_duration", 100),
    ]
    args = train_parser().parse_args([*map(str, options)])
    step("imports")
    inputs = read_inputs(args)
    step("cuts, labels, fingerprint")
    loader = inputs.data.train_dataloader("train", output_length, inputs.labels)
    step("filter")
    loader.set_epoch(1)
    batches = iter(loader)
    ids = [*next(batches).ids]
    step("first batch")
    for name, before, after in zip(steps[1:], [s for _, s in steps], [s for _, s in steps[1:]]):
        print(f"{name[0]:28}{after - before:7.1f} CPU s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{'sum':28}{steps[-1][1]:7.1f} CPU s, peak {peak:,.0f} MB")
    first = workers()
    for batch in itertools.islice(batches, NUM_BATCHES):
        ids += batch.ids
    later = workers()
    for pid, (private, seconds) in first.items():
        print(
            f"loading process: {seconds:.1f} CPU s to start, private memory {private:.0f} MB, "
            f"after {NUM_BATCHES} batches {later[pid][0]:.0f} MB"
        )
    print(f"first {len(ids):,} utterances: {fingerprint(*ids)}")


def workers() -> dict[int, tuple[float, float]]:
    """Process id -> private memory (MB) and CPU seconds of the processes started by this one."""
    found = {}
    for name in os.listdir("/proc"):
        try:
            stat = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            if not name.isdigit() or int(stat[1]) != os.getpid():
                continue
            lines = Path(f"/proc/{name}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        private = sum(int(line.split()[1]) for line in lines if line.startswith("Private"))
        ticks = os.sysconf("SC_CLK_TCK")
        found[int(name)] = (private / 2**10, (int(stat[11]) + int(stat[12])) / ticks)
    return found


def main() -> None:
    args = get_parser().parse_args()
    if args.measure:
        measure(args.folder, args.num_workers)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        if not (folder / "toy_cuts_train.jsonl.gz").is_file():
            folder.mkdir(exist_ok=True)
            make(folder, args.cuts)
        options = ["--measure", "--folder", str(folder), "--num-workers", str(args.num_workers)]
        subprocess.run([sys.executable, __file__, *options], check=True)


if __name__ == "__main__":
    run(main)
