"""The frozen language model that teaches: token features, computed once and kept on disk.

This is the only module that imports transformers, and it does so late: reading
a :class:`FeatureStore` needs numpy and torch alone.
"""

import functools
import hashlib
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gmot.common import GmotError, PathLike, atomic_path, read_json, write_json
from gmot.text.tokens import UNK

METASPACE = "\u2581"  # SentencePiece's mark of a word's beginning
RANDOM_SEED = 20250522  # of the re-initialised control
WEIGHT_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
)


class TeacherTokenizer:
    """Text to the pieces that are both the CTC units and the teacher's tokens.

    A WordPiece tokenizer (bert-base-chinese and its like) splits Chinese
    characters itself, so its pieces are taken as they are. A SentencePiece
    tokenizer joins characters into words, which is too coarse for CTC: there
    each character is looked up by itself.

    Args:
      folder_or_name: a Hugging Face folder, or the name of a model that
        transformers can find.

    Raises:
      GmotError: it holds no tokenizer.
    """

    def __init__(self, folder_or_name: PathLike):
        self._tokenizer = _load("AutoTokenizer", folder_or_name, "tokenizer")
        self._vocabulary: Dict[str, int] = self._tokenizer.get_vocab()
        pieces = self._tokenizer.tokenize("\u4e2d\u6587")  # two characters, one word
        self.splits_characters = len(pieces) == 2 and METASPACE not in pieces
        self._is_unknown = functools.lru_cache(maxsize=None)(self._lookup_unknown)

    def tokenize(self, text: str) -> List[str]:
        """The CTC pieces of ``text``; what the vocabulary lacks becomes ``<unk>``."""
        if self.splits_characters:
            unknown = self._tokenizer.unk_token
            return [UNK if p == unknown else p for p in self._tokenizer.tokenize(text)]
        return [c if c in self._vocabulary else UNK for c in text if not c.isspace()]

    def unknown(self, text: str) -> List[str]:
        """The characters of ``text`` that the vocabulary lacks, in their order."""
        return [c for c in text if not c.isspace() and self._is_unknown(c)]

    def _lookup_unknown(self, character: str) -> bool:
        return self.tokenize(character) == [UNK]

    @property
    def fingerprint(self) -> str:
        """Of the vocabulary and the way of splitting."""
        digest = hashlib.sha256(str(self.splits_characters).encode())
        for piece, index in sorted(self._vocabulary.items()):
            digest.update(f"{piece}\0{index}\0".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]

    @property
    def num_dropped(self) -> int:
        """Positions after the first that are fed to the model but are not pieces."""
        return 0 if self.splits_characters else 1

    def input_ids(self, text: str) -> List[int]:
        """What the model is fed: ``[CLS] pieces [SEP]``, or ``<s> U+2581 pieces </s>``.

        The SentencePiece models have seen U+2581 before every sentence.
        """
        tokenizer = self._tokenizer
        pieces = [tokenizer.unk_token if p == UNK else p for p in self.tokenize(text)]
        if not self.splits_characters:
            pieces = [METASPACE, *pieces]
        ids = tokenizer.convert_tokens_to_ids(pieces)
        return [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]


class Teacher:
    """A frozen BERT-like encoder; features of one layer, one row per token.

    Args:
      folder_or_name: a Hugging Face folder with config, weights and tokenizer,
        or the name of a model that transformers can find.
      layer: which hidden state: 0 the embeddings, 1 the first layer, ...; None
        the last layer.
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
        layer: Optional[int] = None,
        random_weights: bool = False,
        device: Any = "cpu",
    ):
        self.tokenizer = TeacherTokenizer(folder_or_name)
        config = _load("AutoConfig", folder_or_name, "config")
        depth = config.num_hidden_layers
        self.layer = depth if layer is None else layer
        if not 0 <= self.layer <= depth:
            raise GmotError(
                f"teacher {folder_or_name}: layer {layer} was asked for, "
                f"but it has layers 0 (embeddings) to {depth}"
            )
        self.random_weights = random_weights
        self.device = torch.device(device)
        if random_weights:
            model = _random_model(config)
        else:
            model = _pretrained_model(folder_or_name)
        self.dim: int = config.hidden_size
        self.max_tokens = self._max_pieces(config, model)
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

    def _max_pieces(self, config: Any, model: torch.nn.Module) -> int:
        # RoBERTa's positions begin after its padding index.
        offset = getattr(getattr(model, "embeddings", None), "padding_idx", None)
        positions = config.max_position_embeddings - (0 if offset is None else offset + 1)
        positions = min(positions, self.tokenizer._tokenizer.model_max_length)
        return positions - 2 - self.tokenizer.num_dropped

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


class FeatureStore:
    """Teacher features of many sentences, memory-mapped; made by :func:`write_store`."""

    def __init__(self, path: Path, index: Dict[str, Any]):
        self._rows: Dict[str, List[int]] = index["texts"]
        self.path = path
        self.dim: int = index["dim"]
        self.fingerprint: str = index["fingerprint"]
        self.random_weights: bool = index["random_weights"]
        self._features = np.memmap(
            path / "features.bin", np.float16, "r", shape=(index["rows"], self.dim)
        )

    @classmethod
    def open(cls, directory: PathLike, fingerprint: Optional[str] = None) -> "FeatureStore":
        """Open a store.

        Args:
          directory: where :func:`write_store` put it.
          fingerprint: of the teacher that is expected, or None for any.

        Raises:
          GmotError: there is none, it is incomplete, or another teacher's.
        """
        path = Path(directory)
        index = read_json(path / "index.json")
        features = path / "features.bin"
        expected = index["rows"] * index["dim"] * 2
        found = features.stat().st_size if features.is_file() else 0
        if found != expected:
            raise GmotError(
                f"{features}: {found} bytes, expected {expected}. "
                "Delete the folder and compute the teacher's features again."
            )
        if fingerprint is not None and fingerprint != index["fingerprint"]:
            raise GmotError(
                f"{path} holds features of the teacher {index['fingerprint']} "
                f"(layer {index['layer']}, random weights: {index['random_weights']}), "
                f"expected {fingerprint}. Compute the teacher's features again, or give "
                "another folder."
            )
        return cls(path, index)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, text: str) -> bool:
        return text in self._rows

    def get(self, text: str) -> Tensor:
        """Features ``(L, D)`` float32 of a sentence that is in the store.

        Raises:
          GmotError: it is not.
        """
        if text not in self._rows:
            raise GmotError(
                f"{self.path}: no features of '{text}'. Compute the teacher's features "
                "again, from the manifests that are trained on."
            )
        start, length = self._rows[text]
        return torch.from_numpy(self._features[start : start + length].astype(np.float32))


def write_store(
    directory: PathLike, teacher: Teacher, texts: Iterable[str], batch_size: int = 32
) -> int:
    """Compute the features of ``texts`` and keep them, each text once.

    Args:
      directory: the folder to make; one that is there is replaced at the end.
      teacher: computes the features.
      texts: sentences, repetitions allowed.
      batch_size: sentences at a time; similar lengths go together.

    Returns:
      How many different sentences the store holds.

    Raises:
      GmotError: there is no sentence.
    """
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    if not distinct:
        raise GmotError(f"{directory}: there is no sentence to compute teacher features of")
    rows = 0
    index: Dict[str, List[int]] = {}
    with atomic_path(directory) as folder:
        folder.mkdir()
        bar = tqdm(total=len(distinct), desc="teacher features", unit="sentence", disable=None)
        with bar, open(folder / "features.bin", "wb") as file:
            for start in range(0, len(distinct), batch_size):
                batch = distinct[start : start + batch_size]
                for text, features in zip(batch, teacher.encode(batch)):
                    file.write(features.numpy().astype(np.float16).tobytes())
                    index[text] = [rows, len(features)]
                    rows += len(features)
                bar.update(len(batch))
        write_json(
            folder / "index.json",
            {
                "fingerprint": teacher.fingerprint,
                "layer": teacher.layer,
                "random_weights": teacher.random_weights,
                "dim": teacher.dim,
                "rows": rows,
                "texts": index,
            },
        )
    return len(distinct)


def _load(kind: str, folder_or_name: PathLike, what: str, **options: Any) -> Any:
    """``transformers.<kind>.from_pretrained``, with errors for people."""
    path = Path(folder_or_name)
    if path.is_dir():
        options["local_files_only"] = True
        if not (path / "config.json").is_file():
            raise GmotError(
                f"teacher {path}: no config.json in it. Give a Hugging Face model folder "
                "(config.json, model.safetensors, tokenizer files)."
            )
    elif path.is_absolute() or str(folder_or_name).count("/") > 1 or path.exists():
        raise GmotError(f"teacher {path}: no such folder. Run the stage that makes it.")
    transformers = _transformers()
    try:
        return getattr(transformers, kind).from_pretrained(str(folder_or_name), **options)
    except Exception as error:  # what a broken file raises depends on its format
        first = str(error).strip().splitlines()
        raise GmotError(
            f"teacher {folder_or_name}: its {what} cannot be loaded "
            f"({first[0] if first else type(error).__name__})"
        ) from error


def _transformers() -> Any:
    import transformers

    transformers.logging.set_verbosity_error()
    return transformers


def _pretrained_model(folder_or_name: PathLike) -> torch.nn.Module:
    path = Path(folder_or_name)
    if path.is_dir() and not any((path / name).is_file() for name in WEIGHT_FILES):
        raise GmotError(
            f"teacher {path}: no weights in it. Expected model.safetensors or "
            "pytorch_model.bin: download the model completely, or make it with its recipe."
        )
    model, info = _load(
        "AutoModel", folder_or_name, "model", output_loading_info=True, torch_dtype=torch.float32
    )
    # transformers draws missing weights at random and goes on; a teacher must not.
    missing = [key for key in info["missing_keys"] if not key.startswith("pooler.")]
    if missing:
        raise GmotError(
            f"teacher {folder_or_name}: {len(missing)} weights are missing, the first is "
            f"'{missing[0]}'. The weights do not belong to this config.json."
        )
    return model


def _random_model(config: Any) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(RANDOM_SEED)
        return _transformers().AutoModel.from_config(config)


def _drop_layers_above(model: torch.nn.Module, layer: int) -> None:
    """Spare the layers whose output nobody reads, where the model is a plain stack."""
    stack = getattr(getattr(model, "encoder", None), "layer", None)
    if isinstance(stack, torch.nn.ModuleList):
        del stack[layer:]
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
