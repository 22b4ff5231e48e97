"""In a test, LoRA is part of the weights: the same hidden states but for rounding."""

import copy
import logging
from types import SimpleNamespace

import pytest
import torch

from mmdet.registry import MODELS
from mmvisionllm.engine.hooks import MergeLoRAHook

LORA = dict(r=4, lora_alpha=8, target_modules='all-linear')


@pytest.mark.parametrize('dora', [False, True], ids=['lora', 'dora'])
@pytest.mark.parametrize(('dtype', 'near'), [('float32', 1e-5), ('bfloat16', 0.03)])
@torch.no_grad()
def test_the_same_answers(small, llm_folder, dtype, near, dora):
    torch.manual_seed(0)
    cfg = dict(type='LanguageModel', pretrained=str(llm_folder()), num_bins=33, torch_dtype=dtype)
    model = MODELS.build(dict(cfg, lora=dict(LORA, use_dora=dora))).eval()
    for name, parameter in model.named_parameters():
        if '.lora_B' in name:
            parameter.normal_(0, 0.05)
    ids = torch.randint(0, 100, (2, 12))
    apart = copy.deepcopy(model)
    MergeLoRAHook().before_test(SimpleNamespace(model=model, logger=logging.getLogger('test')))
    merged, wanted = (m.lm.base_model(inputs_embeds=m.embed(ids)).last_hidden_state.float() for m in (model, apart))
    base = MODELS.build(cfg).eval()
    plain = base.lm.base_model(inputs_embeds=base.embed(ids)).last_hidden_state.float()
    scale = wanted.abs().max()
    assert (merged - wanted).abs().max() < near * scale
    assert (plain - wanted).abs().max() > 3 * near * scale  # the adapters do something
