"""A folder of an experiment, with the files of training and decoding."""

import json
from pathlib import Path

import torch

from gmot.analysis.plots import draw_couplings
from gmot.common import write_json
from gmot.evaluation.files import recogs_path, update_results, write_recogs
from gmot.evaluation.scoring import score
from gmot.training.metrics import open_board

UPDATES = 20  # per epoch
REFS = {"utt000": "今天天气很好", "utt001": "他在电店买电", "utt002": "她坐车去"}
HYPS = {"utt000": "今天气很好", "utt001": "她在电店买电", "utt002": "她坐车去"}
PIECES = [["[CLS]", "ab", "c", "[SEP]"], ["[CLS]", "d", "[SEP]"]]
LOSSES = ("loss", "ctc", "alignment", "transport", "node", "edge")
OTHERS = ("gradient_norm", "learning_rate", "data_wait")


def train(folder: Path, first: int = 1, last: int = 3, teacher: bool = True) -> None:
    """Event files and ``config.json`` of epochs ``first`` to ``last``.

    ``train/loss`` is 100 / update and ``dev/cer`` 90 / epoch.
    """
    board = open_board(folder / "tensorboard", (first - 1) * UPDATES + 1)
    torch.manual_seed(0)
    for epoch in range(first, last + 1):
        end = epoch * UPDATES
        for update in range(end - UPDATES + 1, end + 1):
            for name in (*LOSSES, *OTHERS) if teacher else ("loss", "ctc", *OTHERS):
                board.add_scalar(f"train/{name}", 100 / update, update)
        for name, value in {"loss": 9 / epoch, "cer": 90 / epoch, "epoch": epoch}.items():
            board.add_scalar(f"dev/{name}", value, end)
        if teacher:
            figure = draw_couplings([torch.rand(12, len(p)) for p in PIECES], [12, 9], PIECES)
            board.add_figure("couplings", figure, end)
    board.close()
    config = {
        "transfer": {"objective": "transport" if teacher else "none", "alpha": 0.02},
        "training": {"num_epochs": last, "base_lr": 0.001},
        "teacher_layer": {"number": 6, "of": 12} if teacher else None,
    }
    run = {
        "first_epoch": first,
        "date": "2026-11-27T06:00:00+00:00",
        "command": "python local/train.py --exp-dir <exp>",
        "arguments": {"fbank_dir": str(folder.parent / "fbank"), "prefix": "toy"},
        "environment": {"commit": "b760410208", "dirty": False, "torch": "2.13.0"},
    }
    write_json(folder / "config.json", {"config": config, "runs": [run]})


def decode(folder: Path, splits: tuple[str, ...] = ("dev", "test")) -> None:
    """``results.json`` and recogs files of the greedy search after epoch 3."""
    numbers = {"audio_seconds": 3.0, "rtf_encoder": 0.1, "rtf_decoding": 0.1}
    for split in splits:
        key = {"split": split, "method": "ctc-greedy-search", "epoch": 3, "avg": 2}
        scores = {"scores": {"CER": score(REFS, HYPS).record()}}
        costs = {**numbers, "peak_memory_mb": 100.0, "device": "cpu"}
        update_results(folder / "results.json", [{**key, **scores, **costs}])
        write_recogs(recogs_path(folder, key), REFS, HYPS)


def skip_updates(folder: Path, count: int, processes: int = 2) -> None:
    """``skipped.jsonl`` of ``count`` updates."""
    facts = [
        {"rank": r, "step": n, "cause": "loss nan"} for n in range(count) for r in range(processes)
    ]
    (folder / "skipped.jsonl").write_text("".join(f"{json.dumps(f)}\n" for f in facts) + '{"rank')
