"""Where the time of a training step goes."""

from collections import defaultdict
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks import steps
from gmot.model.subsampling import length_mask, output_length
from gmot.transfer.losses import combine

PARTS = ("front end", "encoder forward", "adapter and head", "CTC", "transport")
PARTS += ("encoder backward", "front end backward", "optimizer")


def profile(
    size: steps.Size, batches: list[Any], rounds: int, device: torch.device, system: str = "gm_ot"
) -> tuple[str, list[list[Any]]]:
    """Table of the parts of an update of ``system``: the least time of each, summed over batches.

    The step is cut where its parts meet, so that each is timed with its own backward pass: CTC,
    and the transport, with theirs; adapter and head too.
    """
    updater = steps.make_updater(size, system, device)
    total: dict[str, float] = defaultdict(float)
    for batch in batches:
        least: dict[str, float] = {}
        for number in range(rounds + 1):
            found = _parts(updater, batch.to(device), device)
            if number > 0:
                least = {name: min(least.get(name, s), s) for name, s in found.items()}
        for name, seconds in least.items():
            total[name] += seconds / len(batches)
    whole = sum(total.values())
    rows = [[n, f"{1e3 * total[n]:.1f}", f"{100 * total[n] / whole:.0f} %"] for n in PARTS]
    return f"part of a step of {system}|ms|share", [*rows, ["sum", f"{1e3 * whole:.0f}", ""]]


class _Clock:
    def __init__(self, device: torch.device):
        self.now, self.found = steps.clock(device), defaultdict(float)
        self.last = self.now()

    def add(self, name: str) -> None:
        """Time since the last call."""
        now = self.now()
        self.found[name] += now - self.last
        self.last = now


def _leaf(x: torch.Tensor) -> torch.Tensor:
    return x.detach().requires_grad_()


def _parts(updater: Any, batch: Any, device: torch.device) -> dict[str, float]:
    """Seconds of each of :data:`PARTS`."""
    module, model = updater.module, updater.module.model
    updater.optimizer.zero_grad(set_to_none=True)
    updater.optimizer.param_groups[0]["lr"] = 1e-4
    clock = _Clock(device)
    front = model.subsampling((batch.features - model.feature_mean) / model.feature_std)
    clock.add("front end")
    frames = _leaf(front)
    lengths = output_length(batch.lengths)
    encoded, _ = model.encoder(frames, length_mask(lengths, frames.size(1)), ())
    clock.add("encoder forward")
    outputs = _leaf(encoded)
    x, acoustic = model.adapter(outputs)
    log_probs = model.head(x).float().log_softmax(dim=-1)
    clock.add("adapter and head")
    ctc_leaf, nodes = _leaf(log_probs), _leaf(acoustic)
    ctc = F.ctc_loss(
        ctc_leaf.transpose(0, 1), batch.labels, lengths, batch.label_lengths, reduction="none"
    )
    ctc.mean().backward()
    clock.add("CTC")
    teacher = batch.teacher.float(), batch.teacher_lengths
    labels = batch.labels, batch.label_lengths
    loss = module.objective([nodes], lengths, *teacher, *labels, validate=False)
    combine(torch.zeros_like(ctc), loss, module.config).mean().backward()
    clock.add("transport")
    torch.autograd.backward((log_probs, acoustic), (ctc_leaf.grad, nodes.grad))
    clock.add("adapter and head")
    encoded.backward(outputs.grad)
    clock.add("encoder backward")
    front.backward(frames.grad)
    clock.add("front end backward")
    torch.nn.utils.clip_grad_norm_(updater.parameters, 5.0)
    updater.optimizer.grad_scale = updater.optimizer.found_inf = None
    updater.optimizer.step()
    clock.add("optimizer")
    return dict(clock.found)
