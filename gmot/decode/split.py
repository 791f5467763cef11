"""Decoding of a data split by several methods, and the search for the HLG scale."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from gmot.common import GmotError
from gmot.decode import lattice
from gmot.decode.api import Decoded, Decoder
from gmot.decode.candidates import Candidates, LmScales, search_lm_scales
from gmot.decode.config import DecodingConfig
from gmot.decode.methods import METHODS
from gmot.decode.search import synchronize

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

    def search_lm_scales(self, methods: Sequence[str], hlg_scale: float) -> dict[str, LmScales]:
        """Method -> LM scales with the fewest errors (:func:`search_lm_scales`)."""
        return {
            m: search_lm_scales(self.candidates[m], self.refs, METHODS[m].lm_scales(hlg_scale))
            for m in methods
        }

    def hypotheses(self, method: str, lm_scales: LmScales) -> dict[str, str]:
        """Utterance -> text of a method with LM scales."""
        found = self.candidates[method]
        if METHODS[method].oracle:
            return {key: c.oracle(self.refs[key]) for key, c in found.items()}
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
      decoder: decoder of all methods.
      device: device of the model.
      num_utterances: total, for the progress bar.
      description: of the progress bar.
      hlg_scale, lm_scales: of :meth:`Decoder.__call__`.
    Raises:
      GmotError: no utterances, repeated utterances, or half a batch exceeds the memory.
    """
    model.eval()
    result = DecodedSplit(candidates={m: {} for m in decoder.methods})
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)

    def decode(log_probs: Tensor, lengths: Tensor) -> Any:
        return decoder(log_probs, lengths, hlg_scale, lm_scales)

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
    result.peak_memory_mb = (
        torch.cuda.max_memory_allocated(device) / 2**20 if cuda else _process_peak_mb()
    )
    return result


def _warn(costs: Decoded, config: DecodingConfig, description: str) -> None:
    """Log what happened to utterances that could not be decoded as configured."""
    for name, count in costs.no_path.items():
        if count:
            logging.warning(
                "%s, %s: the graph has no path for %d utterances, replaced by greedy search; a "
                "larger search_beam (%g) may help",
                *(description, name, count, config.search_beam),
            )
    if costs.reduced_states:
        logging.warning(
            "%s: %d utterances were searched with fewer than %d active states (at least %d) to fit "
            "into search_memory (%g GB)",
            *(description, len(costs.reduced_states), config.max_active_states),
            *(min(costs.reduced_states), config.search_memory),
        )
    num_pruned = max(costs.num_pruned.values(), default=0)
    if num_pruned:
        logging.warning(
            "%s: %d lattices of more than %d arcs were pruned for n-best lists and rescoring; the "
            "model is uncertain or output_beam (%g) too large",
            *(description, num_pruned, lattice.MAX_ARCS, config.output_beam),
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
        if not isinstance(error, MemoryError) and "out of memory" not in str(error).lower():
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
) -> float:
    """The HLG scale of the configuration with the fewest ``1best`` errors.

    Args:
      model, batches, device, num_utterances: of :func:`decode_split`.
      decoder: with HLG.
    Returns:
      The scale; of equally good ones the first.
    Raises:
      GmotError: half a batch exceeds the memory.
    """
    model.eval()
    errors = dict.fromkeys(decoder.config.hlg_scale, 0)
    refs: dict[str, str] = {}
    with tqdm(total=num_utterances, desc="hlg_scale", unit="utt", disable=None) as progress:
        for group in _encoder_outputs(model, batches, refs, device):
            for scale in errors:  # HLG is scaled once per group, not per batch

                def one_best(log_probs: Tensor, lengths: Tensor, scale: float = scale) -> Any:
                    return decoder(log_probs, lengths, scale, methods=["1best"])

                for batch in group:
                    for ids, decoded, _ in _encode(_identity, batch, one_best, device):
                        for i, candidates in zip(ids, decoded.candidates["1best"]):
                            errors[scale] += int(candidates.errors(refs[i])[0])
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
        for ids, (log_probs, lengths), _ in _encode(model, features, _to_cpu, device):
            group.append((ids, log_probs, lengths))
            size += 4 * log_probs.numel()
        if size >= MAX_KEPT_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _to_cpu(log_probs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    return log_probs.cpu(), lengths.cpu()


def _identity(log_probs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Model of batches that are encoded already."""
    return log_probs, lengths


def _process_peak_mb() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
