"""Features of the frozen language model."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gmot.common import GmotError, PathLike
from gmot.teacher.alignment import piece_weights
from gmot.teacher.loading import import_transformers, load_config, load_model, refuse_missing
from gmot.teacher.tokenizer import TeacherTokenizer
from gmot.text.units import Span, Units

RANDOM_SEED = 20250522  # of the untrained teacher


class Teacher:
    """Frozen language model; hidden states of one layer, one row per token of a recogniser.

    Encoders such as BERT, causal models, and the encoder of models that have a decoder, too.

    Args:
      folder_or_name: Hugging Face folder with config, weights and tokenizer, or model name.
      layer: 0 for the embeddings, 1 for the first layer, ...; "last" as in all five papers (the
        12th of bert-base).
      random_weights: ablation: the same architecture with weights drawn from a fixed seed.
      device: of the model; features are returned on the CPU.

    Raises:
      GmotError: no such folder or layer, or the weights are missing or do not fit the config.
    """

    def __init__(
        self,
        folder_or_name: PathLike,
        layer: int | str = "last",
        random_weights: bool = False,
        device: Any = "cpu",
    ):
        if os.path.isdir(folder_or_name):
            folder_or_name = os.path.abspath(folder_or_name)
        self.source = str(folder_or_name)
        self.tokenizer = TeacherTokenizer(folder_or_name)
        config = load_config(folder_or_name)
        self.num_layers: int = config.num_hidden_layers
        self.layer: int = self.num_layers if layer == "last" else int(layer)
        if not 0 <= self.layer <= self.num_layers:
            raise GmotError(
                f"teacher {folder_or_name}: layer {layer}, "
                f"expected 0 (embeddings) to {self.num_layers}"
            )
        self.random_weights = random_weights
        self.device = torch.device(device)
        if random_weights:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(RANDOM_SEED)
                model = import_transformers().AutoModel.from_config(config).float()
        else:
            model, missing = load_model("AutoModel", folder_or_name)
            refuse_missing(folder_or_name, missing)
        if config.is_encoder_decoder:
            model = model.get_encoder()
        model.config.use_cache = False  # of causal models
        self.dim: int = config.hidden_size
        self.max_tokens = self.tokenizer.max_pieces(model)
        self.fingerprint = self._fingerprint(config, model)
        _drop_layers_above(model, self.layer)
        self._model = model.to(self.device).eval().requires_grad_(False)

    def encode(self, texts: Sequence[str], units: Units) -> list[Tensor]:
        """Features of a batch of sentences, aligned with the tokens of a recogniser.

        Returns:
          Per text a float32 tensor ``(L, D)`` on the CPU, with L = number of tokens + 2: [CLS] (or
          ``<s>``), per token the mean over the pieces that overlap it, [SEP] (or ``</s>``).

        Raises:
          GmotError: a text exceeds the model's positions.
        """
        return self.encode_spans(texts, [units.spans(text) for text in texts])

    @torch.no_grad()
    def encode_spans(self, texts: Sequence[str], spans: Sequence[Sequence[Span]]) -> list[Tensor]:
        """:meth:`encode` with the spans of the tokens of each text."""
        if not texts:
            return []
        use = "the training split"
        inputs = [self.tokenizer.input(text, self.max_tokens, use) for text in texts]
        input_ids, mask = self.tokenizer.pad([ids for ids, _ in inputs])  # (N, L)
        output = self._model(
            input_ids=input_ids.to(self.device),
            attention_mask=mask.to(self.device),
            output_hidden_states=True,
        )
        # transformers 5 records no states of a model without layers.
        states = (output.hidden_states or (output.last_hidden_state,))[self.layer]  # (N, L, D)
        found = []
        for row, (ids, pieces), units in zip(states.float().cpu(), inputs, spans):
            last = len(ids) - 1
            rows = piece_weights(units, pieces[:last]) @ row[:last]
            found.append(torch.cat([row[:1], rows, row[last : last + 1]]))
        return found

    def _fingerprint(self, config: Any, model: torch.nn.Module) -> str:
        """Fingerprint of architecture, weights, vocabulary and layer."""
        facts = [config.model_type, config.num_attention_heads, getattr(config, "hidden_act", "")]
        facts += [self.tokenizer.fingerprint, self.layer, self.random_weights]
        digest = hashlib.sha256(repr(facts).encode())
        for name, tensor in sorted(model.state_dict().items()):
            # The pooler follows all layers (and is random if a folder has none); position_ids are
            # a buffer of some versions of transformers.
            if name.startswith("pooler.") or name.endswith("position_ids"):
                continue
            digest.update(name.encode())
            digest.update(memoryview(tensor.detach().float().contiguous().numpy()).cast("B"))
        return digest.hexdigest()[:16]


def _drop_layers_above(model: torch.nn.Module, layer: int) -> None:
    """Remove the layers above ``layer``, where the model is a plain stack."""
    stack = getattr(getattr(model, "encoder", None), "layer", None)
    if isinstance(stack, torch.nn.ModuleList):
        del stack[layer:]
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
