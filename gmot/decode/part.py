"""The decoding of a whole part by several methods at once."""

import logging
import sys
import time
from dataclasses import dataclass, field
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

import torch
from torch import Tensor
from tqdm import tqdm

from gmot.common import GmotError
from gmot.decode.api import Decoder
from gmot.decode.candidates import Candidates, Weights, search_weights
from gmot.decode.methods import weightings
from gmot.decode.settings import Counts, synchronize

Batch = Tuple[Sequence[str], Tensor, Tensor]  # ids, features (N, T, F), lens (N,)


@dataclass
class PartResult:
    """What decoding a part gave.

    Attributes:
      refs: utterance -> reference text.
      candidates: method -> utterance -> candidates.
      counts: of utterances decoded otherwise than asked for.
      audio_seconds: speech decoded.
      encoder_seconds: wall time of the model.
      decoding_seconds: method -> wall time of decoding.
      peak_memory_mb: of the GPU's memory if there is one, else of the process.
    """

    refs: Dict[str, str] = field(default_factory=dict)
    candidates: Dict[str, Dict[str, Candidates]] = field(default_factory=dict)
    counts: Counts = field(default_factory=lambda: Counts({}))
    audio_seconds: float = 0.0
    encoder_seconds: float = 0.0
    decoding_seconds: Dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0

    def search_weights(self, methods: Sequence[str], hlg_scale: float) -> Dict[str, Weights]:
        """Method -> the weights of its scores that make the fewest errors on this part."""
        return {
            m: search_weights(self.candidates[m], self.refs, weightings(m, hlg_scale))
            for m in methods
        }

    def hypotheses(self, method: str, weights: Weights) -> Dict[str, str]:
        """Utterance -> text, by a method with weights for its scores."""
        if method == "nbest-oracle":
            return {key: c.closest(self.refs[key]) for key, c in self.candidates[method].items()}
        return {key: c.text(weights) for key, c in self.candidates[method].items()}


@torch.no_grad()
def decode_part(
    model: torch.nn.Module,
    batches: Iterable[Any],
    decoder: Decoder,
    device: Any = "cpu",
    num_utterances: Optional[int] = None,
    description: str = "decoding",
) -> PartResult:
    """Decode a part by several methods that share one pass of the encoder.

    Where memory does not suffice for a batch, it is decoded in two halves.

    Args:
      model: (features (N, T, F), lens (N,)) -> (log_probs (N, T', C), lens, ...).
      batches: objects with ``ids, features, feature_lens, texts, durations``.
      decoder: of all methods.
      device: where the model is.
      num_utterances: how many the batches hold, for the progress bar.
      description: of the progress bar.
    Returns:
      References and candidates, with times and memory.
    Raises:
      GmotError: no utterances, one comes twice, or memory does not suffice for
        half a batch either.
    """
    model.eval()
    result = PartResult(candidates={method: {} for method in decoder.methods})
    decoder.reset()
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    with tqdm(total=num_utterances, desc=description, unit="utt", disable=None) as progress:
        for batch in batches:
            repeated = result.refs.keys() & set(batch.ids)
            if repeated:
                raise GmotError(f"utterances come more than once: {sorted(repeated)[:5]}.")
            whole = (batch.ids, batch.features, batch.feature_lens)
            for ids, found, taken in _decode(model, whole, decoder, device):
                result.encoder_seconds += taken
                for method, candidates in found.items():
                    result.candidates[method].update(zip(ids, candidates))
            result.refs.update(zip(batch.ids, batch.texts))
            result.audio_seconds += float(sum(batch.durations))
            progress.update(len(batch.ids))
    if not result.refs:
        raise GmotError(f"{description}: no utterances to decode. Check the part's cuts.")
    result.decoding_seconds, result.counts = decoder.seconds, decoder.counts
    result.peak_memory_mb = (
        torch.cuda.max_memory_allocated(device) / 2**20 if cuda else _process_peak_mb()
    )
    return result


# From (log_probs, lens) to the candidates of each method, or anything else.
Decode = Callable[[Tensor, Tensor], Mapping[str, Any]]
Decoded = Tuple[Sequence[str], Mapping[str, Any], float]


def _decode(
    model: Callable[..., Sequence[Any]],
    batch: Batch,
    decode: Decode,
    device: Any,
    halve: bool = True,
) -> Iterator[Decoded]:
    """Yields (ids, what decode gave, seconds of the encoder), of the batch or of its halves."""
    ids, features, lens = batch
    try:
        started = time.perf_counter()
        log_probs, output_lens = model(features.to(device), lens.to(device))[:2]
        log_probs = log_probs.float()
        synchronize(log_probs)
        taken = time.perf_counter() - started
        yield ids, decode(log_probs, output_lens), taken
        return
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and "out of memory" not in str(error).lower():
            raise
        longest = ids[int(lens.argmax())]
        if not halve or len(ids) == 1:
            raise GmotError(
                f"out of memory in decoding {len(ids)} utterances, the longest of them {longest} "
                f"({int(lens.max())} frames). Lower --max-duration, or --max-active-states and "
                "--num-paths for HLG."
            ) from None
        logging.warning(
            "out of memory in decoding %d utterances, the longest of them %s (%d frames): they "
            "are decoded in two halves",
            len(ids),
            longest,
            int(lens.max()),
        )
    # After the handler: within it the failed attempt's tensors would still be held.
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    middle = (len(ids) + 1) // 2
    for rows in (slice(0, middle), slice(middle, None)):
        part = features[rows, : int(lens[rows].max())]
        yield from _decode(model, (ids[rows], part, lens[rows]), decode, device, halve=False)


# Encoder outputs that are kept for the search of the scale of HLG, in bytes.
KEPT_BYTES = 1e9
Encoded = Tuple[Sequence[str], Tensor, Tensor]  # ids, log-probabilities (N, T, C), lens (N,)


@torch.no_grad()
def search_hlg_scale(
    model: torch.nn.Module,
    batches: Iterable[Any],
    decoder: Decoder,
    values: Sequence[float],
    device: Any = "cpu",
    num_utterances: Optional[int] = None,
) -> float:
    """The scale of HLG's language model with which ``1best`` makes the fewest errors.

    Args:
      model, batches, device, num_utterances: as of :func:`decode_part`.
      decoder: has HLG, whose scale is changed.
      values: to try.
    Returns:
      One of ``values``: of equally good ones the first.
    Raises:
      GmotError: memory does not suffice for half a batch either.
    """
    model.eval()
    errors = dict.fromkeys(values, 0)
    one_best = decoder.only(["1best"])
    refs: Dict[str, str] = {}
    with tqdm(total=num_utterances, desc="--hlg-scale", unit="utt", disable=None) as progress:
        for group in _encoded(model, batches, refs, device):
            for value in values:
                # Weighing rewrites all arcs of HLG: once per value, not once per batch.
                one_best.hlg_scale = value
                for batch in group:
                    for ids, found, _ in _decode(_unchanged, batch, one_best, device):
                        for i, candidates in zip(ids, found["1best"]):
                            errors[value] += int(candidates.errors(refs[i])[0])
            progress.update(sum(len(ids) for ids, _, _ in group))
    for value, count in errors.items():
        logging.info("--hlg-scale %g: %d errors", value, count)
    return min(errors, key=lambda value: errors[value])


def _encoded(
    model: torch.nn.Module, batches: Iterable[Any], refs: Dict[str, str], device: Any
) -> Iterator[List[Encoded]]:
    """Encoder outputs of as many batches at a time as KEPT_BYTES allow; references into refs."""
    group: List[Encoded] = []
    size = 0

    def keep(log_probs: Tensor, lens: Tensor) -> Dict[str, Any]:
        return {"log_probs": log_probs.cpu(), "lens": lens.cpu()}

    for batch in batches:
        refs.update(zip(batch.ids, batch.texts))
        whole = (batch.ids, batch.features, batch.feature_lens)
        for ids, kept, _ in _decode(model, whole, keep, device):
            group.append((ids, kept["log_probs"], kept["lens"]))
            size += 4 * kept["log_probs"].numel()
        if size >= KEPT_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _unchanged(log_probs: Tensor, lens: Tensor) -> Tuple[Tensor, Tensor]:
    """The model of batches that are encoded."""
    return log_probs, lens


def _process_peak_mb() -> float:
    try:
        import resource
    except ImportError:  # not on Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
