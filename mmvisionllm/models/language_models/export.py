"""A trained language model without this package: adapters in peft's format, or a standalone Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from mmvisionllm.compat import forget_peft

from .language_model import LanguageModel
from .transformers_bridge import text_config

ADDED = 'added_tokens.safetensors'
SIGNATURE = 'visionllm.json'


def export_lora(model: LanguageModel, out: str | Path) -> None:
    """Write LoRA in peft's format, with what the added tokens need.

    - ``adapter_config.json``, ``adapter_model.safetensors``: for ``peft.PeftModel.from_pretrained``;
    - ``added_tokens.safetensors``: ``input`` and ``output`` (V, D), the added tokens' rows in the embedding matrix and in
      the output layer, of which the first has the id that follows the tokenizer's own last;
    - the tokenizer with the added tokens;
    - ``visionllm.json``: the model that all this belongs to (:meth:`LanguageModel.signature`) and the number of words.

    Raises:
        ValueError: if the model has no LoRA.
    """
    from peft import get_peft_model_state_dict

    configs = getattr(model.lm, 'peft_config', None)
    if not configs:
        raise ValueError('the language model has no LoRA: set language_model.lora, or use merge_lora')
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    state = get_peft_model_state_dict(model.lm, save_embedding_layers=False)
    save_file(
        {f'base_model.model.{key}': value.contiguous().cpu() for key, value in state.items()},
        out / 'adapter_model.safetensors',
        metadata=dict(format='pt'),
    )
    config = configs['default']
    config.base_model_name_or_path = model.pretrained
    config.task_type = 'CAUSAL_LM'
    config.inference_mode = True
    config.save_pretrained(str(out))
    added = dict(input=model.added.input, output=model.added.output)
    save_file({key: table.detach().cpu().contiguous() for key, table in added.items()}, out / ADDED)
    model.tokenizer.hf.save_pretrained(out)
    about = dict(model.signature(), first_added_id=model.tokenizer.base_size)
    (out / SIGNATURE).write_text(json.dumps(about, indent=1))


@torch.no_grad()
def unload_lora(lm: nn.Module) -> nn.Module:
    """Add LoRA's changes to the weights of a Hugging Face model, in place, and take the adapters out.

    Raises:
        ValueError: if an adapter holds numbers that are not finite.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import AuxiliaryTrainingWrapper

    for name, module in list(lm.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            plain = module.get_base_layer()
        elif isinstance(module, AuxiliaryTrainingWrapper):
            plain = module.unload_and_optionally_merge_module(merge=True, safe_merge=True, adapter_names=None)
        else:
            continue
        parent, _, child = name.rpartition('.')
        setattr(lm.get_submodule(parent), child, plain)
    forget_peft(lm)
    return lm


@torch.no_grad()
def merge(model: LanguageModel, out: str | Path) -> None:
    """Write a standalone model: LoRA merged, added tokens as rows of its matrices, tokenizer.

    ``AutoModelForCausalLM`` and ``AutoTokenizer`` load it and give the logits of
    :meth:`LanguageModel.vocabulary_logits`. Rows that no word had, as some models keep to round their size up, make room
    for the added tokens. Embedding and output layer are separate matrices from then on.

    Args:
        model: Of weights that are not quantized; LoRA is taken out of it.
        out: Folder to write.

    Raises:
        ValueError: if the weights are quantized.
    """
    if getattr(model.lm, 'hf_quantizer', None) is not None:
        raise ValueError('LoRA cannot be merged into quantized weights: set quantization_config=None')
    lm = unload_lora(model.lm)
    words, size = lm.get_input_embeddings(), len(model.tokenizer)
    base = model.tokenizer.base_size
    rows = max(words.num_embeddings, size)
    head = lm.get_output_embeddings()
    if head.weight is words.weight:
        head.weight = nn.Parameter(words.weight.detach().clone())
    lm.config.tie_word_embeddings = text_config(lm.config).tie_word_embeddings = False
    lm.resize_token_embeddings(rows)
    words, head = lm.get_input_embeddings(), lm.get_output_embeddings()
    words.weight[base:size] = model.added.input.to(words.weight)
    head.weight[base:size] = model.added.output.to(head.weight)
    lm.set_attn_implementation('sdpa')
    lm.save_pretrained(out)
    model.tokenizer.hf.save_pretrained(out)
