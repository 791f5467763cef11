"""The frozen language model that teaches: features of its tokens."""

import hashlib
from typing import Any, List, NamedTuple, Sequence, Union

import torch
from torch import Tensor

from gmot.common import GmotError, PathLike
from gmot.teacher.loading import import_transformers, load_model, load_part, refuse_missing
from gmot.teacher.tokenizer import TeacherTokenizer

RANDOM_SEED = 20250522  # of the re-initialised control


class TeacherSize(NamedTuple):
    """Width of the features, and number of layers."""

    dim: int
    num_layers: int


def teacher_size(folder_or_name: PathLike) -> TeacherSize:
    """Size of a teacher, from its config alone.

    Raises:
      GmotError: it has no config.
    """
    config = load_part("AutoConfig", folder_or_name, "config")
    return TeacherSize(config.hidden_size, config.num_hidden_layers)


class Teacher:
    """A frozen BERT-like encoder; features of one layer, one row per token.

    Args:
      folder_or_name: a Hugging Face folder with config, weights and tokenizer,
        or the name of a model that transformers can find.
      layer: hidden states to return: 0 the embeddings, 1 the first layer, ...;
        "last", as in all five papers (the 12th of bert-base).
      random_weights: the control of an experiment: the same architecture with
        weights drawn anew, always the same ones.
      device: where the model runs; features always come back on the CPU.

    Raises:
      GmotError: no such folder, no weights in it, weights that do not fit the
        config, or no such layer.
    """

    def __init__(
        self,
        folder_or_name: PathLike,
        layer: Union[int, str] = "last",
        random_weights: bool = False,
        device: Any = "cpu",
    ):
        self.tokenizer = TeacherTokenizer(folder_or_name)
        config = load_part("AutoConfig", folder_or_name, "config")
        self.num_layers: int = config.num_hidden_layers
        self.layer: int = self.num_layers if layer == "last" else layer
        if not 0 <= self.layer <= self.num_layers:
            raise GmotError(
                f"teacher {folder_or_name}: layer {layer} was asked for, "
                f"but it has layers 0 (embeddings) to {self.num_layers}"
            )
        self.random_weights = random_weights
        self.device = torch.device(device)
        if random_weights:
            model = _random_model(config)
        else:
            model = _pretrained_model(folder_or_name)
        self.dim: int = config.hidden_size
        self.max_tokens = self.tokenizer.max_pieces(model)
        self.fingerprint = self._fingerprint(config, model)
        _drop_layers_above(model, self.layer)
        self._model = model.to(self.device).eval().requires_grad_(False)

    def tokenize(self, text: str) -> List[str]:
        """See :meth:`TeacherTokenizer.tokenize`."""
        return self.tokenizer.tokenize(text)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> List[Tensor]:
        """Features of a batch of sentences.

        Returns:
          For each text a float32 tensor ``(L, D)`` on the CPU with
          ``L = len(tokenize(text)) + 2``: [CLS] first, [SEP] last.

        Raises:
          GmotError: a text is longer than the model's positions.
        """
        if not texts:
            return []
        batch = [self.tokenizer.input_ids(text) for text in texts]
        dropped = self.tokenizer.num_dropped
        for text, ids in zip(texts, batch):
            if len(ids) - 2 - dropped > self.max_tokens:
                raise GmotError(
                    f"the teacher takes {self.max_tokens} tokens, this sentence has "
                    f"{len(ids) - 2 - dropped}: '{text[:40]}...'. Leave it out of the "
                    "training part or split its utterance."
                )
        longest = max(map(len, batch))
        input_ids = torch.zeros(len(batch), longest, dtype=torch.int64)  # (N, L)
        mask = torch.zeros_like(input_ids)
        for i, ids in enumerate(batch):
            input_ids[i, : len(ids)] = torch.tensor(ids)
            mask[i, : len(ids)] = 1
        pad = self.tokenizer._tokenizer.pad_token_id
        input_ids[mask == 0] = 0 if pad is None else pad
        states = self._model(
            input_ids=input_ids.to(self.device),
            attention_mask=mask.to(self.device),
            output_hidden_states=True,
        ).hidden_states[self.layer]  # (N, L, D)
        states = states.float().cpu()
        features = []
        for row, ids in zip(states, batch):
            row = row[: len(ids)]
            features.append(torch.cat([row[:1], row[1 + dropped :]]))
        return features

    def _fingerprint(self, config: Any, model: torch.nn.Module) -> str:
        """Of all that the features depend on: architecture, weights, vocabulary, layer."""
        digest = hashlib.sha256()
        facts = [config.model_type, config.num_attention_heads, getattr(config, "hidden_act", "")]
        facts += [self.tokenizer.fingerprint, self.layer, self.random_weights]
        digest.update(repr(facts).encode())
        for name, tensor in sorted(model.state_dict().items()):
            # The pooler comes after all layers (and is random where a folder has
            # none); position_ids are a buffer of some versions of transformers.
            if name.startswith("pooler.") or name.endswith("position_ids"):
                continue
            digest.update(name.encode())
            digest.update(memoryview(tensor.detach().float().contiguous().numpy()).cast("B"))
        return digest.hexdigest()[:16]


def _pretrained_model(folder_or_name: PathLike) -> torch.nn.Module:
    model, missing = load_model("AutoModel", folder_or_name)
    refuse_missing(folder_or_name, missing)
    return model


def _random_model(config: Any) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(RANDOM_SEED)
        return import_transformers().AutoModel.from_config(config)


def _drop_layers_above(model: torch.nn.Module, layer: int) -> None:
    """Spare the layers whose output nobody reads, where the model is a plain stack."""
    stack = getattr(getattr(model, "encoder", None), "layer", None)
    if isinstance(stack, torch.nn.ModuleList):
        del stack[layer:]
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
