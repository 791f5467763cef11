"""The options of :meth:`gmot.data.datamodule.AsrDataModule.from_args`.

Apart from it, so that ``--help`` does not wait for torch.
"""

import argparse

from gmot.cli import str2bool

# name -> (default, help), of gmot.data.augment.SpecAugment
SPEC_AUGMENT = {
    "time_warp_factor": (80, "frames that a point may move in time; 0: none"),
    "num_feature_masks": (2, "frequency masks; 0: none"),
    "features_mask_size": (27, "bins, each mask is narrower"),
    "num_frame_masks": (10, "time masks, at most; 0: none"),
    "frames_mask_size": (100, "frames, each mask is shorter"),
    "max_frames_mask_fraction": (0.15, "share of an utterance that time masks may cover"),
    "p": (0.9, "share of utterances that are changed"),
}


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the groups "data" and "SpecAugment"."""
    add = parser.add_argument_group("data").add_argument
    add("--prefix", required=True, help="first part of the file names")
    add("--fbank-dir", required=True, help="what the fbank stage made")
    add(
        "--max-duration",
        type=float,
        default=100.0,
        help="seconds of speech in a batch, padding counted; lower it when memory does not suffice",
    )
    add("--num-buckets", type=int, default=10, help="groups of similar duration")
    add("--num-workers", type=int, default=0, help="loading processes; 0: none besides")
    add("--min-utterance", type=float, default=0.0, help="seconds; training drops shorter")
    add("--max-utterance", type=float, default=None, help="seconds; training drops longer")
    add = parser.add_argument_group("SpecAugment").add_argument
    add("--spec-aug", type=str2bool, default=True, help="on training batches")
    for name, (default, what) in SPEC_AUGMENT.items():
        option = f"--spec-aug-{name.replace('_', '-')}"
        add(option, type=type(default), default=default, help=what)
