"""Conformer-CTC of other toolkits, of the same size, on the same batches."""

import sys
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import steps
from gmot.model.config import ModelConfig
from gmot.model.ctc_model import CtcModel
from gmot.model.subsampling import Conv2dSubsampling, length_mask, output_length


class Ours(nn.Module):
    """gmot's model without adapter."""

    def __init__(self, shape: ModelConfig):
        super().__init__()
        self.model = CtcModel(shape)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        output = self.model(features, lengths)
        return output.log_probs, output.lengths


class Transformers(nn.Module):
    """``transformers``' Wav2Vec2ConformerEncoder behind gmot's subsampling."""

    def __init__(self, shape: ModelConfig):
        super().__init__()
        from transformers import Wav2Vec2ConformerConfig
        from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as modeling

        # torch 1.13 cannot import its FSDP on Python 3.11.
        modeling.is_fsdp_managed_module = lambda module: False
        width, dropout = shape.d_model, shape.dropout
        config = Wav2Vec2ConformerConfig(
            hidden_size=width,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_heads,
            intermediate_size=shape.ffn_dim,
            hidden_act="swish",
            conv_depthwise_kernel_size=shape.kernel_size,
            conformer_conv_dropout=dropout,
            hidden_dropout=dropout,
            activation_dropout=dropout,
            attention_dropout=dropout,
            layerdrop=0.0,
            position_embeddings_type="relative",
        )
        self.subsampling = Conv2dSubsampling(shape.num_features, width, shape.subsampling_channels)
        self.encoder = modeling.Wav2Vec2ConformerEncoder(config)
        self.head = nn.Linear(width, shape.vocab_size)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        lengths = output_length(lengths)
        x = self.subsampling(features)
        x = self.encoder(x, attention_mask=length_mask(lengths, x.size(1))).last_hidden_state
        return self.head(x).float().log_softmax(2), lengths


class Wenet(nn.Module):
    """wenet's ConformerEncoder (non-causal, relative positions, macaron) and a CTC head."""

    def __init__(self, shape: ModelConfig, path: str):
        super().__init__()
        package: Any = types.ModuleType("wenet")  # without its command-line tools
        package.__path__ = [f"{path}/wenet"]
        sys.modules.setdefault("wenet", package)
        from wenet.models.transformer.encoder import ConformerEncoder

        self.encoder = ConformerEncoder(
            shape.num_features,
            shape.d_model,
            attention_heads=shape.num_heads,
            linear_units=shape.ffn_dim,
            num_blocks=shape.num_layers,
            dropout_rate=shape.dropout,
            positional_dropout_rate=shape.dropout,
            attention_dropout_rate=shape.dropout,
            input_layer="conv2d",
            pos_enc_layer_type="rel_pos",
            selfattention_layer_type="rel_selfattn",
            cnn_module_kernel=shape.kernel_size,
            cnn_module_norm="layer_norm",
            use_cnn_module=True,
            macaron_style=True,
            causal=False,
            activation_type="swish",
        )
        self.head = nn.Linear(shape.d_model, shape.vocab_size)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x, mask = self.encoder(features, lengths)
        return self.head(x).float().log_softmax(2), mask.squeeze(1).sum(1)


def compare(
    size: steps.Size, batches: list[Any], rounds: int, device: torch.device, wenet: str | None
) -> tuple[str, list[list[Any]]]:
    """Table of forward pass, CTC and backward pass of each, without optimizer."""
    models: dict[str, nn.Module] = {"gmot": Ours(_without_adapter(size))}
    models["transformers Wav2Vec2Conformer"] = Transformers(size.model)
    if wenet:
        models["wenet Conformer"] = Wenet(size.model, wenet)
    calls = {name: _step(model.to(device).train(), device) for name, model in models.items()}
    for call in calls.values():
        call(batches[0])
    found = steps.interleaved(calls, batches, rounds, steps.clock(device))
    rows = []
    for name, seconds in found.items():
        parameters = sum(p.numel() for p in models[name].parameters()) / 1e6
        ratio = seconds / found["gmot"]
        rows.append([name, f"{parameters:.1f}", f"{1e3 * seconds:.0f}", f"{ratio:.2f}"])
    return "Conformer-CTC|M parameters|forward and backward, ms|against gmot", rows


def _without_adapter(size: steps.Size) -> ModelConfig:
    return replace(size.model, teacher_dim=None)


def _step(model: nn.Module, device: torch.device) -> Callable[[Any], None]:
    def step(batch: Any) -> None:
        batch = batch.to(device)
        model.zero_grad(set_to_none=True)
        log_probs, lengths = model(batch.features, batch.lengths)
        x, labels = log_probs.transpose(0, 1), (batch.labels, lengths, batch.label_lengths)
        F.ctc_loss(x, *labels, reduction="mean").backward()

    return step
