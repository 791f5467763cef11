"""Decoding of a data split by several methods, and the search for the HLG scale."""

import logging
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from gmot.common import GmotError, is_out_of_memory
from gmot.decode import lattice, rescoring
from gmot.decode.api import Decoded, Decoder
from gmot.decode.candidates import Candidates, LmScales, search_lm_scales
from gmot.decode.config import DecodingConfig
from gmot.decode.methods import METHODS
from gmot.decode.search import synchronize
from gmot.text.scoring_units import CER, Metric

Model = Callable[..., Sequence[Any]]
Batch = tuple[Sequence[str], Tensor, Tensor]  # ids, features (N, T, F), lengths (N,)
MAX_KEPT_BYTES = 1e9  # encoder outputs kept by search_hlg_scale


@dataclass
class DecodedSplit:
    """Result of decoding a split.

    Attributes:
      refs: utterance -> reference text.
      candidates: method -> utterance -> candidates.
      costs: sums over the batches; its candidates are empty.
      audio_seconds: duration of the decoded speech.
      encoder_seconds: wall time of the model.
      peak_memory_mb: GPU memory, or memory of the process without a GPU.
    """

    refs: dict[str, str] = field(default_factory=dict)
    candidates: dict[str, dict[str, Candidates]] = field(default_factory=dict)
    costs: Decoded = field(default_factory=Decoded)
    audio_seconds: float = 0.0
    encoder_seconds: float = 0.0
    peak_memory_mb: float = 0.0

    def search_lm_scales(
        self, methods: Sequence[str], hlg_scale: float, metric: Metric = CER
    ) -> dict[str, LmScales]:
        """Method -> LM scales with the fewest errors (:func:`search_lm_scales`)."""
        choices = {m: METHODS[m].lm_scales(hlg_scale) for m in methods}
        return {
            m: search_lm_scales(self.candidates[m], self.refs, of_method, metric)
            for m, of_method in choices.items()
        }

    def hypotheses(self, method: str, lm_scales: LmScales, metric: Metric = CER) -> dict[str, str]:
        """Utterance -> text of a method with LM scales; ``metric`` selects that of the oracle."""
        found = self.candidates[method]
        if METHODS[method].oracle:
            return {key: c.oracle(self.refs[key], metric) for key, c in found.items()}
        return {key: c.text(lm_scales) for key, c in found.items()}


@torch.no_grad()
def decode_split(
    model: torch.nn.Module,
    batches: Iterable[Any],
    decoder: Decoder,
    device: Any = "cpu",
    num_utterances: int | None = None,
    description: str = "decoding",
    hlg_scale: float | None = None,
    lm_scales: Mapping[str, LmScales] | None = None,
) -> DecodedSplit:
    """Decode a split by several methods with one encoder pass.

    A batch that exceeds the memory is decoded in two halves.

    Args:
      model: maps features (N, T, F) and lengths (N,) to log_probs (N, T', C), lengths, ...
      batches: objects with ``ids, features, lengths, texts, durations``.
      num_utterances, description: of the progress bar.
      hlg_scale, lm_scales: of :meth:`Decoder.__call__`.
    Raises:
      GmotError: no utterances, repeated utterances, or half a batch exceeds the memory.
    """
    model.eval()
    result = DecodedSplit(candidates={m: {} for m in decoder.methods})
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)

    decode = partial(decoder, hlg_scale=hlg_scale, lm_scales=lm_scales)
    with tqdm(total=num_utterances, desc=description, unit="utt", disable=None) as progress:
        for batch in batches:
            repeated = result.refs.keys() & set(batch.ids)
            if repeated:
                raise GmotError(f"utterances occur more than once: {sorted(repeated)[:5]}.")
            features = (batch.ids, batch.features, batch.lengths)
            for ids, decoded, seconds in _encode(model, features, decode, device):
                result.encoder_seconds += seconds
                result.costs.add(decoded)
                for name, candidates in decoded.candidates.items():
                    result.candidates[name].update(zip(ids, candidates))
            result.refs.update(zip(batch.ids, batch.texts))
            result.audio_seconds += float(sum(batch.durations))
            progress.update(len(batch.ids))
    if not result.refs:
        raise GmotError(f"{description}: no utterances to decode. Check the cuts of the split.")
    _warn(result.costs, decoder.config, description)
    if cuda:
        result.peak_memory_mb = torch.cuda.max_memory_allocated(device) / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result.peak_memory_mb = peak / (2**20 if sys.platform == "darwin" else 2**10)
    return result


def _warn(costs: Decoded, config: DecodingConfig, description: str) -> None:
    """Log what happened to utterances that could not be decoded as configured."""
    for name, count in costs.no_path.items():
        if count:
            logging.warning(
                f"{description}, {name}: the graph has no path for {count} utterances, replaced "
                f"by greedy search; a larger search_beam ({config.search_beam:g}) may help"
            )
    if costs.reduced_states:
        logging.warning(
            f"{description}: {len(costs.reduced_states)} utterances were searched with fewer than "
            f"{config.max_active_states} active states (at least {min(costs.reduced_states)}) to "
            f"fit into search_memory ({config.search_memory:g} GB)"
        )
    num_pruned = max(costs.num_pruned.values(), default=0)
    if num_pruned:
        logging.warning(
            f"{description}: {num_pruned} lattices of more than {lattice.MAX_ARCS} arcs (for "
            f"whole-lattice-rescoring {rescoring.MAX_ARCS}) were pruned; the model is uncertain or "
            f"output_beam ({config.output_beam:g}) too large"
        )


def _encode(
    model: Model,
    batch: Batch,
    use: Callable[[Tensor, Tensor], Any],
    device: Any,
    halve: bool = True,
) -> Iterator[tuple[Sequence[str], Any, float]]:
    """Yields (ids, ``use(log_probs, lengths)``, encoder seconds) of the batch or of its halves."""
    ids, features, lengths = batch
    try:
        started = time.perf_counter()
        log_probs, output_lengths = model(features.to(device), lengths.to(device))[:2]
        log_probs = log_probs.float()
        synchronize(log_probs)
        seconds = time.perf_counter() - started
        yield ids, use(log_probs, output_lengths), seconds
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        found = (
            f"out of memory while decoding {len(ids)} utterances, the longest one "
            f"{ids[int(lengths.argmax())]} ({int(lengths.max())} frames)"
        )
        if not halve or len(ids) == 1:
            raise GmotError(
                f"{found}. Reduce --max-duration, or max_active_states and num_paths for HLG."
            ) from None
        logging.warning("%s: decoding it in two halves", found)
    # Outside of the handler, which would keep the tensors of the failed attempt.
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    middle = (len(ids) + 1) // 2
    for rows in (slice(0, middle), slice(middle, None)):
        half = (ids[rows], features[rows, : int(lengths[rows].max())], lengths[rows])
        yield from _encode(model, half, use, device, halve=False)


@torch.no_grad()
def search_hlg_scale(
    model: torch.nn.Module,
    batches: Iterable[Any],
    decoder: Decoder,
    device: Any = "cpu",
    num_utterances: int | None = None,
    metric: Metric = CER,
) -> float:
    """The HLG scale of the configuration with the fewest ``1best`` errors (the first of equals).

    Args:
      model, batches, device, num_utterances: of :func:`decode_split`.
      decoder: with HLG.
      metric: counts the errors.
    Raises:
      GmotError: half a batch exceeds the memory.
    """
    model.eval()
    errors = dict.fromkeys(decoder.config.hlg_scale, 0)
    refs: dict[str, str] = {}
    with tqdm(total=num_utterances, desc="hlg_scale", unit="utt", disable=None) as progress:
        for group in _encoder_outputs(model, batches, refs, device):
            for scale in errors:  # HLG is scaled once per group, not per batch
                one_best = partial(decoder, hlg_scale=scale, methods=["1best"])
                for batch in group:
                    for ids, decoded, _ in _encode(lambda *x: x, batch, one_best, device):
                        for i, candidates in zip(ids, decoded.candidates["1best"]):
                            errors[scale] += int(candidates.errors(refs[i], metric)[0])
            progress.update(sum(len(ids) for ids, _, _ in group))
    for scale, count in errors.items():
        logging.info("hlg_scale %g: %d errors", scale, count)
    return min(errors, key=lambda scale: errors[scale])


def _encoder_outputs(
    model: torch.nn.Module, batches: Iterable[Any], refs: dict[str, str], device: Any
) -> Iterator[list[Batch]]:
    """Groups of batches with log-probabilities of about MAX_KEPT_BYTES; adds to ``refs``."""
    group: list[Batch] = []
    size = 0
    for batch in batches:
        refs.update(zip(batch.ids, batch.texts))
        features = (batch.ids, batch.features, batch.lengths)
        for ids, encoded, _ in _encode(model, features, lambda *x: [y.cpu() for y in x], device):
            group.append((ids, *encoded))
            size += 4 * encoded[0].numel()
        if size >= MAX_KEPT_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
