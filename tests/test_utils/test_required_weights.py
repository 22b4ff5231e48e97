"""Which weights a checkpoint must hold."""

import pytest
import torch

from mmvisionllm.utils.required_weights import check_weights

LORA = dict(r=4, target_modules='all-linear')


@pytest.fixture
def net():
    net = torch.nn.ModuleDict(dict(a=torch.nn.Linear(2, 3), b=torch.nn.Linear(3, 1)))
    net['b'].requires_grad_(False)
    return net


def test_what_trains_must_be_there(net):
    state = net.state_dict()
    check_weights(net, state)
    check_weights(net, {f'module.{key}': weight for key, weight in state.items()})
    check_weights(net, {key: w for key, w in state.items() if key.startswith('a')})
    with pytest.raises(ValueError, match='2 trained weights are wrong: a.weight is missing; a.bias'):
        check_weights(net, {})
    with pytest.raises(ValueError, match=r'a.bias \(2,\) instead of \(3,\)'):
        check_weights(net, {**state, 'a.bias': torch.zeros(2)})
    check_weights(net, {}, allow_missing=['a.'])
    with pytest.raises(ValueError, match=r"2, 3\) instead of \(3, 2\). Allow \['a.weight'\]"):
        check_weights(net, {**state, 'a.weight': torch.zeros(2, 3)}, remedy='. Allow {}')


def test_a_frozen_language_model_from_files_may_be_missing_and_one_without_may_not(small, llm_folder):
    cfg = small.language_model(lora=LORA)
    without = small.build(cfg)
    files = small.build({**cfg, 'pretrained': str(llm_folder()), 'config': None})
    check_weights(files, files.state_dict())
    check_weights(without, without.state_dict())
    with pytest.raises(ValueError, match='trained weights are wrong: lm.model.embed_tokens.weight is missing'):
        check_weights(without, files.state_dict())
    holder = torch.nn.ModuleDict(dict(head=files))
    check_weights(holder, holder.state_dict())
    with pytest.raises(ValueError, match='trained weights are wrong: head.* is missing'):
        check_weights(holder, files.state_dict())
