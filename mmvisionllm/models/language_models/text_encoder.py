"""Text encoder of the image tokenizer: any Hugging Face encoder (paper, 3.3: BERT-Base)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

from mmdet.registry import MODELS

from .building import add_lora, lora_config, parse_dtype
from .identity import SavedWithoutItsFiles, fingerprint
from .tokenizer import resolve_pretrained


@MODELS.register_module()
class TextEncoder(SavedWithoutItsFiles, BaseModule):
    """Instruction text -> one feature per word piece.

    Args:
        tokenizer: Local path or hub id of its tokenizer. Defaults to ``pretrained``.
        pretrained: Local path or hub id of its weights. None builds it from ``config`` with random weights.
        config: Fields of its Hugging Face config with ``model_type``.
        frozen: Do not train its own weights. The paper's ablation: trained 44.8 AP, frozen 1.3 AP. Defaults to whether
            ``lora`` is given. Without ``lora``, its dropout is off, too.
        max_length: Word pieces beyond this number, or beyond what the model has positions for, are cut off.
        lora: Arguments of :class:`peft.LoraConfig`, as of :class:`LanguageModel`.
        torch_dtype: Type of its weights, whatever that of their files; fusion and tokenizer compute in float32.

    The state dict leaves out weights that are frozen and come from ``pretrained``.

    Raises:
        FileNotFoundError: if a local path does not exist.
        ValueError: if neither ``pretrained`` nor ``config`` is given, if ``lora`` is unknown; also when a checkpoint of
            another text encoder is loaded.
    """

    part_from_files = 'model'
    kind = 'text encoder'

    def __init__(
        self,
        tokenizer: str | None = None,
        pretrained: str | None = None,
        config: dict[str, Any] | None = None,
        frozen: bool | None = None,
        max_length: int = 512,
        lora: dict[str, Any] | None = None,
        torch_dtype: str = 'float32',
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if pretrained is None and config is None:
            raise ValueError('a text encoder needs `pretrained` (path or hub id) or `config`')
        if tokenizer is None and pretrained is None:
            raise ValueError('a text encoder built from `config` needs `tokenizer` (path or hub id)')
        self.frozen = bool(lora) if frozen is None else frozen
        adapters = lora_config(lora) if lora else None
        self.tokenizer = AutoTokenizer.from_pretrained(resolve_pretrained(tokenizer or pretrained, 'tokenizer'))
        self.model = self._build(pretrained, dict(config or {}), parse_dtype(torch_dtype))
        limit = getattr(self.model.config, 'max_position_embeddings', max_length)
        self.max_length = min(max_length, limit)
        # Unused: a summary of the whole text. Without gradient, its weights would stop distributed training.
        if getattr(self.model, 'pooler', None) is not None:
            self.model.pooler = None
        self.pretrained = pretrained
        elsewhere = self.frozen and pretrained is not None
        self.fingerprint = fingerprint(self.model, len(self.tokenizer)) if elsewhere else None
        self.model = add_lora(self.model, adapters, self.frozen)
        if elsewhere:
            self.leave_out_all_but({n for n, p in self.named_parameters() if p.requires_grad})
        self._always_same = self.frozen and adapters is None
        # Weights are complete: mmengine shall not call the model's own `init_weights`.
        self.model.is_init = True

    def _build(self, pretrained: str | None, config: dict[str, Any], dtype: torch.dtype) -> nn.Module:
        if pretrained is not None:
            path = resolve_pretrained(pretrained, 'text encoder')
            return AutoModel.from_pretrained(path, **config, dtype=dtype)
        config.setdefault('vocab_size', len(self.tokenizer))
        return AutoModel.from_config(AutoConfig.for_model(**config), dtype=dtype)

    def train(self, mode: bool = True) -> TextEncoder:
        """A frozen encoder stays in evaluation mode: the same text has the same features."""
        super().train(mode)
        if self._always_same:
            self.model.eval()
        return self

    def signature(self) -> dict[str, Any]:
        """What checkpoints say about their text encoder."""
        config = self.model.config
        return dict(
            model_type=config.model_type,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            vocab_size=len(self.tokenizer),
            name=self.pretrained,
            fingerprint=self.fingerprint,
        )

    @property
    def embed_dims(self) -> int:
        return self.model.config.hidden_size

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Encode.

        Args:
            texts: B texts; equal ones are encoded once.

        Returns:
            (B, T, D_l) features and (B, T) bool, True where there is a word piece.
        """
        unique = list(dict.fromkeys(texts))
        options = dict(padding=True, return_tensors='pt', return_token_type_ids=False)
        batch = self.tokenizer(unique, **options)
        if batch['input_ids'].size(1) > self.max_length:
            warnings.warn(
                f'an instruction has {batch["input_ids"].size(1)} word pieces, of which the text encoder reads the first '
                f'{self.max_length}: offer fewer categories at a time (AttachInstruction(max_categories=...))',
                stacklevel=2,
            )
            batch = self.tokenizer(unique, truncation=True, max_length=self.max_length, **options)
        batch = batch.to(self.model.device)
        features = self.model(**batch).last_hidden_state
        rows = [unique.index(text) for text in texts]
        return features[rows].float(), batch['attention_mask'].bool()[rows]
