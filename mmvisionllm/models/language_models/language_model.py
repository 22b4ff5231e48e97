"""Any Hugging Face decoder-only model as VisionLLM's language model (paper, 3.4)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from transformers import Cache

from mmdet.registry import MODELS
from mmdet.utils import reduce_mean
from mmvisionllm.instructions import Vocabulary

from .added_embedding import AddedEmbedding
from .added_start import hidden_norm, start_added_tokens
from .building import (
    add_lora,
    build_random,
    causal_config,
    load_pretrained,
    lora_config,
    parse_dtype,
    quantization,
    quantized_weights_aside,
)
from .flex_kernel import find_kernel
from .identity import SavedWithoutItsFiles, fingerprint
from .shared_prefix import SharedPrefixLayout
from .tokenizer import InstructionTokenizer
from .transformers_bridge import cache_argument, checkpoint_activations, run_body_dense, sliding_window, text_config

# A tokenizer knows as many words as its model, but for padding: 2.4% of the rows of DeepSeek's, the most we know of.
_LEAST_SHARE_OF_ROWS = 0.9


@MODELS.register_module()
class LanguageModel(SavedWithoutItsFiles, BaseModule):
    """A causal language model with added tokens, optional LoRA and parallel decoding of objects.

    Args:
        tokenizer: Local path or hub id of its tokenizer. Defaults to ``pretrained``.
        pretrained: Local path or hub id of its weights. None builds it from ``config`` with random weights.
        config: Fields of the model's Hugging Face config with ``model_type``, e.g.
            ``dict(model_type='llama', hidden_size=256)``; on top of ``pretrained`` they override its own.
        lora: Arguments of :class:`peft.LoraConfig`, e.g. ``dict(r=16, target_modules='all-linear', use_dora=True)``. The
            model's own weights are then frozen.
        frozen: Freeze the model's own weights. By default those from ``pretrained``, as in the paper, and with ``lora``.
        num_bins: Location bins.
        torch_dtype: Type of the model's own weights, e.g. ``'bfloat16'``.
        gradient_checkpointing: Recompute activations in the backward pass.
        attn_implementation: What computes the attention of prefix and objects: ``'sdpa'`` or ``'flex_attention'``.
        quantization_config: Load frozen weights in 4 or 8 bits: ``dict(load_in_4bit=True)`` and further arguments of
            :class:`transformers.BitsAndBytesConfig`, or ``dict(quant_method=...)`` and those of its class.

    The state dict leaves out weights that are frozen and come from ``pretrained``: building the model brings them back.

    Raises:
        FileNotFoundError: if a local path does not exist.
        ImportError: if the library of ``quantization_config`` is not installed, or torch too old for
            ``attn_implementation``.
        ValueError: if neither ``pretrained`` nor ``config`` is given; if ``pretrained`` is no decoder-only model, is not
            complete or does not fit its tokenizer; if ``lora``, ``quantization_config``, ``attn_implementation`` or
            ``torch_dtype`` is unknown; also when a checkpoint of another language model is loaded.
    """

    def __init__(
        self,
        tokenizer: str | None = None,
        pretrained: str | None = None,
        config: dict[str, Any] | None = None,
        lora: dict[str, Any] | None = None,
        frozen: bool | None = None,
        num_bins: int = 1025,
        torch_dtype: str = 'float32',
        gradient_checkpointing: bool = False,
        attn_implementation: str = 'sdpa',
        quantization_config: dict[str, Any] | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if pretrained is None and config is None:
            raise ValueError('a language model needs `pretrained` (path or hub id) or `config`')
        if tokenizer is None and pretrained is None:
            raise ValueError('a language model built from `config` needs `tokenizer` (path or hub id)')
        self.kernel = find_kernel(attn_implementation)
        self.frozen = bool(lora or pretrained) if frozen is None else frozen
        if quantization_config and not (pretrained and self.frozen):
            raise ValueError(
                'quantization_config is for frozen weights from files: it needs `pretrained`, and no frozen=False'
            )
        # All that can be wrong is found before the weights are read, which takes minutes.
        dtype = parse_dtype(torch_dtype)
        adapters = lora_config(lora) if lora else None
        quantized = quantization(quantization_config, dtype) if quantization_config else None
        hf_config = causal_config(pretrained, config or {}) if pretrained else None
        self.vocabulary = Vocabulary(num_bins)
        self.tokenizer = InstructionTokenizer(tokenizer or pretrained, self.vocabulary)
        if hf_config is not None:
            self._check_rows(text_config(hf_config).vocab_size, is_pretrained=True)
            self.lm = load_pretrained(pretrained, hf_config, dtype, quantized)
        else:
            # A config without a vocabulary size takes its tokenizer's.
            defaults = dict(
                vocab_size=self.tokenizer.base_size,
                bos_token_id=self.tokenizer.bos_id,
                eos_token_id=self.tokenizer.eos_id,
            )
            self.lm = build_random({**defaults, **config}, dtype)
        self._check_rows(self.lm.get_input_embeddings().num_embeddings)
        self.cache_argument = cache_argument(self.lm)
        # Most positions of a sequence.
        self.max_length = getattr(text_config(self.lm.config), 'max_position_embeddings', None) or sys.maxsize
        self.pretrained = pretrained
        # Weights that training changes are in the checkpoint: it can be loaded whatever they were at first.
        elsewhere = self.frozen and pretrained is not None
        self.fingerprint = fingerprint(self.lm, self.tokenizer.base_size) if elsewhere else None
        norm = hidden_norm(self.lm, self.tokenizer)
        words = self.lm.get_input_embeddings().weight
        std = 0.02 if words.is_meta else float(words.detach().float().std())
        self.added = AddedEmbedding(self.tokenizer.vocabulary, self.hidden_size, std, norm)
        start_added_tokens(self.added, self.lm, self.tokenizer)
        self.lm = add_lora(self.lm, adapters, self.frozen)
        if elsewhere:
            self.leave_out_all_but({n for n, p in self.named_parameters() if p.requires_grad})
        # mmengine would call the model's own `init_weights`, which draws anew what is not from a file: LoRA's zeros.
        self.lm.is_init = True
        if gradient_checkpointing:
            checkpoint_activations(self.lm)

    def init_weights(self) -> None:
        """Weights are complete when the model is built; quantized ones are none that mmengine could look at."""
        with quantized_weights_aside(self):
            super().init_weights()

    def _check_rows(self, rows: int, is_pretrained: bool = False) -> None:
        known = self.tokenizer.base_size
        if rows < known or (is_pretrained and known < _LEAST_SHARE_OF_ROWS * rows):
            raise ValueError(
                f'the language model has {rows} embedding rows, but its tokenizer knows {known} tokens: they do not '
                'belong together'
            )

    @property
    def hidden_size(self) -> int:
        return self.lm.get_input_embeddings().embedding_dim

    def signature(self) -> dict[str, Any]:
        """What checkpoints say about their language model."""
        config = text_config(self.lm.config)
        return dict(
            model_type=config.model_type,
            hidden_size=self.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            vocab_size=self.tokenizer.base_size,
            num_bins=self.vocabulary.num_bins,
            name=self.pretrained,
            fingerprint=self.fingerprint,
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        table = state_dict.get(f'{prefix}added.input')
        unsigned = f'{prefix}_extra_state' not in state_dict
        if unsigned and table is not None and table.shape != self.added.input.shape:
            raise ValueError(
                f'the checkpoint has {tuple(table.shape)} embeddings of added tokens (number, hidden size), but '
                f'this language model has {tuple(self.added.input.shape)}: it belongs to another one'
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids (...,) -> embeddings (..., D), the added tokens from their own table."""
        base = self.tokenizer.base_size
        is_added = ids >= base
        words = self.lm.get_input_embeddings()(ids.masked_fill(is_added, 0))
        added = self.added.input[(ids - base).clamp(min=0)].to(words.dtype)
        return torch.where(is_added[..., None], added, words)

    def name_embeddings(self, names: Sequence[str]) -> Tensor:
        """(len(names), D) mean word embedding of each name."""
        ids = [self.tokenizer.encode(name) for name in names]
        flat = torch.tensor(sum(ids, []), device=self.added.input.device)
        lengths = torch.tensor([len(i) for i in ids], device=flat.device)
        owner = torch.arange(len(ids), device=flat.device).repeat_interleave(lengths)
        words = self.embed(flat).float()
        sums = words.new_zeros(len(ids), words.size(-1)).index_add(0, owner, words)
        return sums / lengths[:, None]

    @property
    def sliding_window(self) -> int | None:
        """Positions that the layers look back over; None for all."""
        return sliding_window(self.lm)

    @property
    def padding_ids(self) -> list[int]:
        """Rows of the output layer that no word of the tokenizer has."""
        rows = self.lm.get_output_embeddings().weight.size(0)
        return list(range(self.tokenizer.base_size, rows))

    def forward(self, embeddings: Tensor, layout: SharedPrefixLayout, cache: Cache | None = None) -> Tensor:
        """Run prefix and objects in one pass.

        Args:
            embeddings: (B, L - cached + M * K, D).
            layout: Their arrangement.
            cache: Keys and values of the first ``layout.cached`` positions; takes those of this pass.

        Returns:
            (B, L - cached + M * K, D) last hidden states, after the final norm.
        """
        # The layout says who sees whom; a mask of four dimensions keeps transformers from making one of its own.
        mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=embeddings.device)
        return self.lm.base_model(
            inputs_embeds=embeddings.to(next(self.lm.parameters()).dtype),
            attention_mask=mask,
            position_ids=layout.position_ids,
            use_cache=cache is not None,
            layout=layout,
            kernel=self.kernel,
            **{self.cache_argument: cache},
        ).last_hidden_state

    def forward_dense(self, embeddings: Tensor, layout: SharedPrefixLayout) -> Tensor:
        """The same result by a plain forward with a dense mask: slow, for checks and benchmarks."""
        return run_body_dense(self.lm, embeddings.to(next(self.lm.parameters()).dtype), layout)

    def text_loss(self, texts: Sequence[str]) -> Tensor:
        """Mean next-token cross-entropy of texts, each from beginning-of-sequence to end-of-sequence.

        The mean is over the tokens of all processes, of which some may have no texts. A text ends where the model has no
        more positions.
        """
        rows = [[*self.tokenizer.encode(t, bos=True), self.tokenizer.eos_id][: self.max_length] for t in texts]
        device = self.added.input.device
        total, count = self.added.input.sum() * 0, torch.zeros((), device=device)
        if rows:
            length = max(map(len, rows))
            ids = torch.tensor([row + [0] * (length - len(row)) for row in rows], device=device)
            valid = torch.arange(length, device=device) < torch.tensor([[len(row)] for row in rows], device=device)
            hidden = self.lm.base_model(
                inputs_embeds=self.embed(ids), attention_mask=valid.long(), use_cache=False
            ).last_hidden_state
            logits = self.vocabulary_logits(hidden[:, :-1][valid[:, 1:]])
            total = nn.functional.cross_entropy(logits, ids[:, 1:][valid[:, 1:]], reduction='sum')
            count = valid[:, 1:].sum()
        return total / reduce_mean(count.float()).clamp(min=1)

    def added_logits(self, hidden: Tensor, rows: slice | Tensor) -> Tensor:
        """Score hidden states (..., D) against some of the added tokens -> (..., len(rows)), always in float32."""
        with torch.autocast(hidden.device.type, enabled=False):
            return hidden.float() @ self.added.output[rows].float().transpose(-1, -2)

    def word_logits(self, hidden: Tensor) -> Tensor:
        """Score hidden states (..., D) against the model's own tokens -> (..., base_size), in float32."""
        return self.lm.get_output_embeddings()(hidden)[..., : self.tokenizer.base_size].float()

    def vocabulary_logits(self, hidden: Tensor) -> Tensor:
        """Score hidden states (..., D) against all tokens, own and added -> (..., base_size + V)."""
        return torch.cat([self.word_logits(hidden), self.added_logits(hidden, slice(None))], -1)
