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
from gmot.decode.api import Decoder, synchronize
from gmot.decode.candidates import Candidates, Weights, search_weights
from gmot.decode.methods import weightings

Batch = Tuple[Sequence[str], Tensor, Tensor]  # ids, features (N, T, F), lens (N,)


@dataclass
class PartResult:
    """What decoding a part gave.

    Attributes:
      refs: utterance -> reference text.
      candidates: method -> utterance -> candidates.
      num_empty: method -> utterances answered by greedy search.
      audio_seconds: speech decoded.
      encoder_seconds: wall time of the model.
      decoding_seconds: method -> wall time of decoding.
      peak_memory_mb: of the GPU's memory if there is one, else of the process.
    """

    refs: Dict[str, str] = field(default_factory=dict)
    candidates: Dict[str, Dict[str, Candidates]] = field(default_factory=dict)
    num_empty: Dict[str, int] = field(default_factory=dict)
    audio_seconds: float = 0.0
    encoder_seconds: float = 0.0
    decoding_seconds: Dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0

    def search_weights(self, hlg_scale: float) -> Dict[str, Weights]:
        """Method -> the weights of its scores that make the fewest errors on this part."""
        return {
            method: search_weights(found, self.refs, weightings(method, hlg_scale))
            for method, found in self.candidates.items()
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
    seconds, num_empty = dict(decoder.seconds), dict(decoder.num_empty)
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
    for method in decoder.methods:
        result.decoding_seconds[method] = decoder.seconds[method] - seconds[method]
        result.num_empty[method] = decoder.num_empty[method] - num_empty[method]
    result.peak_memory_mb = (
        torch.cuda.max_memory_allocated(device) / 2**20 if cuda else _process_peak_mb()
    )
    return result


# From (log_probs, lens) to candidates by what they are of: a method, a scale.
Decode = Callable[[Tensor, Tensor], Mapping[Any, List[Candidates]]]
Decoded = Tuple[Sequence[str], Mapping[Any, List[Candidates]], float]


def _decode(
    model: torch.nn.Module, batch: Batch, decode: Decode, device: Any, halve: bool = True
) -> Iterator[Decoded]:
    """Yields (ids, candidates, seconds of the encoder), of the batch or of its halves."""
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


@torch.no_grad()
def search_hlg_scale(
    model: torch.nn.Module,
    batches: Iterable[Any],
    decoder: Decoder,
    values: Sequence[float],
    device: Any = "cpu",
    num_utterances: Optional[int] = None,
) -> float:
    """The weight of HLG's language model with which ``1best`` makes the fewest errors.

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

    def with_each(log_probs: Tensor, lens: Tensor) -> Dict[float, List[Candidates]]:
        found = {}
        for value in values:
            one_best.hlg_scale = value
            found[value] = one_best(log_probs, lens)["1best"]
        return found

    with tqdm(total=num_utterances, desc="--hlg-scale", unit="utt", disable=None) as progress:
        for batch in batches:
            refs = dict(zip(batch.ids, batch.texts))
            whole = (batch.ids, batch.features, batch.feature_lens)
            for ids, found, _ in _decode(model, whole, with_each, device):
                for value, candidates in found.items():
                    errors[value] += sum(int(c.errors(refs[i])[0]) for i, c in zip(ids, candidates))
            progress.update(len(batch.ids))
    for value, count in errors.items():
        logging.info("--hlg-scale %g: %d errors", value, count)
    return min(errors, key=lambda value: errors[value])


def _process_peak_mb() -> float:
    try:
        import resource
    except ImportError:  # not on Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
