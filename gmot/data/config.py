"""Configuration of batches and augmentation."""

from dataclasses import dataclass
from typing import Literal

from gmot.config import check_choices, check_positive, check_range, may_change


@dataclass(frozen=True)
class SpecAugmentConfig:
    """SpecAugment of training batches; defaults: lhotse's."""

    time_warp_factor: int = 80
    """Largest shift of a frame by time warping; 0: none."""
    num_feature_masks: int = 2
    """Frequency masks; 0: none."""
    features_mask_size: int = 27
    """Bins per frequency mask, exclusive."""
    num_frame_masks: int = 10
    """Time masks, at most; 0: none."""
    frames_mask_size: int = 100
    """Frames per time mask, exclusive."""
    max_frames_mask_fraction: float = 0.15
    """Share of an utterance that time masks may cover."""
    p: float = 0.9
    """Share of augmented utterances."""
    enabled: bool = True
    """Augment training batches."""

    def __post_init__(self) -> None:
        infinity = float("inf")
        check_range(self, 0, infinity, "time_warp_factor", "num_feature_masks", "num_frame_masks")
        check_range(self, 1, infinity, "features_mask_size", "frames_mask_size")
        check_range(self, 0, 1, "max_frames_mask_fraction", "p")


@dataclass(frozen=True)
class DataConfig:
    """Batches of features."""

    max_duration: float = may_change(100.0, noted=True)
    """Seconds of speech per batch, padding included; lower it when memory runs out. Without
    update_duration, a batch of each process is an update."""
    update_duration: float | None = may_change(None, noted=True)
    """Seconds of speech per update, padding included, over all processes: the size of an update
    then depends on neither their number nor their memory; null: one batch per process."""
    max_padding: float | None = may_change(None, noted=True)
    """Largest share of padding in a batch; null: no limit."""
    max_squared_duration: float | None = may_change(None, noted=True)
    """Largest product of utterances and longest duration squared in a batch, for memory that grows
    with the square; null: no limit."""
    num_buckets: int = may_change(10, noted=True)
    """Groups of similar duration; the utterances of a batch come from one."""
    num_workers: int = may_change(0)
    """Loading processes; 0: load in the training process."""
    features: Literal["stored", "on_the_fly"] = may_change("stored")
    """stored: those of the fbank stage (computed from the audio where it has stored none);
    on_the_fly: computed from the audio, the same numbers."""
    min_utterance: float = may_change(0.0, noted=True)
    """Shortest training utterance in seconds."""
    max_utterance: float | None = may_change(None, noted=True)
    """Longest training utterance in seconds; null: no limit."""
    old_share: float = may_change(0.0, noted=True)
    """Fine-tuning: seconds of old speech (--old-fbank-dir) per second of new speech in an epoch."""
    spec_augment: SpecAugmentConfig = may_change(SpecAugmentConfig(), noted=True)

    def __post_init__(self) -> None:
        infinity = float("inf")
        check_choices(self)
        check_positive(self, "max_duration", "max_utterance")
        check_positive(self, "update_duration", "max_squared_duration")
        check_range(self, 0, 1, "max_padding")
        check_range(self, 1, infinity, "num_buckets")
        check_range(self, 0, infinity, "num_workers", "min_utterance", "old_share")
