"""Scores of texts by a masked language model."""

from typing import Any, Dict, List, Sequence, Tuple

import torch

from gmot.common import GmotError, PathLike
from gmot.teacher.loading import has_weights, load_part
from gmot.teacher.tokenizer import TeacherTokenizer

Masked = Tuple[int, int, List[int]]  # text, position, ids of the text


class MaskedLanguageModel:
    """Pseudo-log-likelihoods of texts: how well each token follows from all others.

    Salazar, Liang, Nguyen and Kirchhoff, "Masked language model scoring" (ACL
    2020), Eq. 1: each token is masked in turn. The tokens are those of
    :class:`TeacherTokenizer`; special tokens are not scored. A text that was
    scored is remembered, because n-best lists repeat them.

    Args:
      folder_or_name: a Hugging Face folder, or the name of a model that
        transformers can find.
      device: where the model runs.
      batch_size: masked copies of texts at a time.

    Raises:
      GmotError: no such folder, or the model has no masked-LM head.
    """

    def __init__(self, folder_or_name: PathLike, device: Any = "cpu", batch_size: int = 256):
        self.tokenizer = TeacherTokenizer(folder_or_name)
        self.device = torch.device(device)
        self.batch_size = batch_size
        self._known: Dict[str, float] = {"": 0.0}
        self._mask_id = self.tokenizer._tokenizer.mask_token_id
        if self._mask_id is None:
            raise _headless(folder_or_name, "a tokenizer without a mask token")
        has_weights(folder_or_name)
        try:
            model, info = load_part(
                *("AutoModelForMaskedLM", folder_or_name, "masked-LM head"),
                output_loading_info=True,
                torch_dtype=torch.float32,
            )
        except GmotError as error:
            raise _headless(folder_or_name, str(error)) from error
        # transformers draws missing weights at random and goes on.
        missing = [key for key in info["missing_keys"] if "pooler." not in key]
        if missing:
            raise _headless(folder_or_name, f"no weights {', '.join(missing[:3])}")
        self._model = model.to(self.device).eval().requires_grad_(False)
        self.max_ids = int(model.config.max_position_embeddings)

    def score(self, texts: Sequence[str]) -> List[float]:
        """Natural logarithms; 0 for an empty text.

        Raises:
          GmotError: a text is longer than the model's positions.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        ids = [self.tokenizer.input_ids(text) for text in new]
        for text, row in zip(new, ids):
            if len(row) > self.max_ids:
                raise GmotError(
                    f"the masked language model takes {self.max_ids} tokens, this text has "
                    f"{len(row)}: '{text[:40]}...'. Leave its utterance out of --parts."
                )
        first = 1 + self.tokenizer.num_dropped
        masked: List[Masked] = [
            (i, position, row)
            for i, row in enumerate(ids)
            for position in range(first, len(row) - 1)
        ]
        masked.sort(key=lambda item: len(item[2]))  # little padding
        totals = torch.zeros(len(new), dtype=torch.float64)
        for start in range(0, len(masked), self.batch_size):
            batch = masked[start : start + self.batch_size]
            owners = torch.tensor([i for i, _, _ in batch])
            totals.index_add_(0, owners, self._log_probs(batch))
        self._known.update(zip(new, totals.tolist()))
        return [self._known[text] for text in texts]

    @torch.no_grad()
    def _log_probs(self, batch: Sequence[Masked]) -> torch.Tensor:
        """Of the token at each masked position: (len(batch),) float64."""
        longest = max(len(row) for _, _, row in batch)
        pad = self.tokenizer._tokenizer.pad_token_id or 0
        ids = torch.full((len(batch), longest), pad)  # (N, L)
        mask = torch.zeros_like(ids)
        for n, (_, _, row) in enumerate(batch):
            ids[n, : len(row)] = torch.tensor(row)
            mask[n, : len(row)] = 1
        rows = torch.arange(len(batch))
        positions = torch.tensor([position for _, position, _ in batch])
        targets = ids[rows, positions].clone()
        ids[rows, positions] = self._mask_id
        logits = self._model(
            input_ids=ids.to(self.device), attention_mask=mask.to(self.device)
        ).logits  # (N, L, V)
        at = logits[rows.to(self.device), positions.to(self.device)].double().log_softmax(-1)
        return at.cpu()[rows, targets]


def _headless(folder_or_name: PathLike, found: str) -> GmotError:
    return GmotError(
        "plm-rescoring needs a language model with a masked-LM head, such as bert-base-chinese; "
        f"{folder_or_name} has none (found: {found})."
    )
