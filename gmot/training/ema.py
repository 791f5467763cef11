"""Running average of the weights (exponential moving average), kept with the training."""

import torch
from torch import Tensor, nn


class RunningAverage:
    """Exponential moving average of a model's parameters, on their device.

    The decay grows to ``decay`` as (1 + step) / (10 + step), so that the initial weights are soon
    forgotten. (``torch.optim.swa_utils.AveragedModel`` has neither this nor fused updates on torch
    1.13.)
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay = model, decay
        self._averages = [p.detach().clone() for p in model.parameters()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Average in the weights after update ``step``, from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = [p.detach() for p in self.model.parameters()]
        torch._foreach_mul_(self._averages, decay)
        torch._foreach_add_(self._averages, weights, alpha=1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """As the model's, buffers included."""
        names = [name for name, _ in self.model.named_parameters()]
        return {**self.model.state_dict(), **dict(zip(names, self._averages))}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for (name, _), average in zip(self.model.named_parameters(), self._averages):
            average.copy_(state[name])
