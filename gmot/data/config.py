"""Configuration of batches and augmentation."""

from dataclasses import dataclass, field

from gmot.config import check_positive, check_range, may_change


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

    max_duration: float = 100.0
    """Seconds of speech per batch, padding included; lower it when memory runs out."""
    num_buckets: int = 10
    """Groups of similar duration; the utterances of a batch come from one."""
    num_workers: int = may_change(0)
    """Loading processes; 0: load in the training process."""
    min_utterance: float = 0.0
    """Shortest training utterance in seconds."""
    max_utterance: float | None = None
    """Longest training utterance in seconds; null: no limit."""
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)

    def __post_init__(self) -> None:
        check_positive(self, "max_duration", "max_utterance")
        check_range(self, 1, float("inf"), "num_buckets")
        check_range(self, 0, float("inf"), "num_workers", "min_utterance")
