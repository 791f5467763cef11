"""Scores of texts by a masked language model."""

from collections.abc import Sequence
from typing import Any

import torch

from gmot.common import GmotError, PathLike, fingerprint
from gmot.teacher.loading import import_transformers, load_config, load_model, refuse_missing
from gmot.teacher.tokenizer import TeacherTokenizer

Masked = tuple[int, int, list[int]]  # index of the text, masked position, token ids of the text


class MaskedLanguageModel:
    """Pseudo-log-likelihoods of texts: log-probabilities of each token given all others.

    Salazar, Liang, Nguyen and Kirchhoff, "Masked language model scoring" (ACL 2020), Eq. 1: each
    token is masked in turn. The tokens are those of :class:`TeacherTokenizer`; special tokens and a
    word boundary before the text are not scored. Scores are cached, because n-best lists repeat
    texts. A batch has ``batch_size`` masked copies of texts.

    Raises:
      GmotError: no such folder, or the model has no masked-LM head.
    """

    def __init__(self, folder_or_name: PathLike, device: Any = "cpu", batch_size: int = 256):
        self.tokenizer = TeacherTokenizer(folder_or_name)
        self.device = torch.device(device)
        self.batch_size = batch_size
        self._known: dict[str, float] = {"": 0.0}
        model = _load_with_head(folder_or_name, self.tokenizer)
        self.max_tokens = self.tokenizer.max_pieces(model.base_model)
        self._model = model.to(self.device).eval().requires_grad_(False)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of weights and tokenizer."""
        return fingerprint(self.tokenizer.fingerprint, *self._model.state_dict().values())

    def score(self, texts: Sequence[str]) -> list[float]:
        """Natural logarithms, one per text; 0 for an empty text.

        Raises:
          GmotError: a text exceeds the model's positions.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        use = "the split that is decoded"
        inputs = [self.tokenizer.input(text, self.max_tokens, use) for text in new]
        masked: list[Masked] = [
            (i, position, row)
            for i, (row, spans) in enumerate(inputs)
            for position in range(1, len(row) - 1)
            if position > 1 or spans[1][0] < spans[1][1]
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
        """Log-probability of the token at each masked position: (len(batch),) float64."""
        ids, mask = self.tokenizer.pad([row for _, _, row in batch])  # (N, L)
        rows = torch.arange(len(batch))
        positions = torch.tensor([position for _, position, _ in batch])
        targets = ids[rows, positions].clone()
        ids[rows, positions] = self.tokenizer.mask_id
        rows, positions = rows.to(self.device), positions.to(self.device)

        # Where the product with the vocabulary is a module, it gets the masked position alone:
        # all positions take L times the memory.
        def select(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            return (inputs[0][rows, positions].unsqueeze(1),)

        product = self._model.get_output_embeddings()
        hook = None if product is None else product.register_forward_pre_hook(select)
        try:
            logits = self._model(
                input_ids=ids.to(self.device), attention_mask=mask.to(self.device)
            ).logits  # (N, 1, V), or (N, L, V) with L >= 3
        finally:
            if hook is not None:
                hook.remove()
        at = logits[:, 0] if logits.size(1) == 1 else logits[rows, positions]
        return at.double().log_softmax(-1)[rows, targets.to(self.device)].cpu()


def _load_with_head(folder_or_name: PathLike, tokenizer: TeacherTokenizer) -> Any:
    config = load_config(folder_or_name)
    found = ""
    if type(config) not in import_transformers().MODEL_FOR_MASKED_LM_MAPPING:
        found = f"the architecture '{config.model_type}'"
    elif tokenizer.mask_id is None:
        found = "a tokenizer without a mask token"
    elif tokenizer.mask_id >= config.vocab_size:  # some tokenizers add one of their own
        found = f"a mask token of id {tokenizer.mask_id}, but {config.vocab_size} embeddings"
    if not found:
        model, missing = load_model("AutoModelForMaskedLM", folder_or_name)
        # An incomplete encoder is another error than an absent head.
        encoder = [key for key in missing if key.startswith(f"{model.base_model_prefix}.")]
        refuse_missing(folder_or_name, encoder)
        if not missing:
            return model
        found = f"no weights {', '.join(missing[:3])}"
    raise GmotError(
        "plm-rescoring needs a language model with a masked-LM head, such as bert-base-chinese; "
        f"{folder_or_name} has none (found: {found})."
    )
