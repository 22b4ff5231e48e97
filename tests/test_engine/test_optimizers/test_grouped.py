"""Optimizer groups by settings: fewer of them, the same steps."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

CUSTOM = dict(slow=dict(lr_mult=0.1), still=dict(decay_mult=0.0))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.fast = nn.Linear(3, 3)
        self.slow = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
        self.still = nn.Linear(3, 1)
        self.frozen = nn.Linear(3, 3).requires_grad_(False)

    def forward(self, x):
        return self.still(self.slow(self.fast(self.frozen(x))))


def build(model, constructor):
    init_default_scope('mmdet')
    cfg = dict(
        type='OptimWrapper',
        constructor=constructor,
        optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.1),
        paramwise_cfg=dict(custom_keys=CUSTOM, norm_decay_mult=0.5),
    )
    return build_optim_wrapper(model, cfg)


def settings(wrapper, model):
    found = {id(p): (g['lr'], g['weight_decay']) for g in wrapper.optimizer.param_groups for p in g['params']}
    return {name: found[id(p)] for name, p in model.named_parameters() if p.requires_grad}


def test_as_many_groups_as_settings_and_the_same_steps():
    torch.manual_seed(0)
    grouped = Model()
    single = copy.deepcopy(grouped)
    wrappers = [build(grouped, 'GroupedOptimWrapperConstructor'), build(single, 'DefaultOptimWrapperConstructor')]
    assert settings(wrappers[0], grouped) == settings(wrappers[1], single)
    assert len(set(settings(wrappers[0], grouped).values())) == 3  # the norm of `slow` has its custom key's settings
    assert len(wrappers[1].optimizer.param_groups) >= 8  # one for each parameter
    assert len(wrappers[0].optimizer.param_groups) <= 4  # the originals keep those that are frozen, without settings
    for _ in range(3):
        x = torch.randn(4, 3)
        for model, wrapper in zip((grouped, single), wrappers):
            wrapper.update_params(model(x).square().mean())
    for (name, ours), theirs in zip(grouped.named_parameters(), single.parameters()):
        assert torch.equal(ours, theirs), name


def test_without_paramwise_settings_there_is_one_group():
    init_default_scope('mmdet')
    cfg = dict(
        type='OptimWrapper',
        constructor='GroupedOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
    )
    assert len(build_optim_wrapper(Model(), cfg).optimizer.param_groups) == 1


@pytest.mark.parametrize('max_norm', [0.01, 1e6])
def test_parts_are_clipped_by_themselves(max_norm):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = Model()
    cfg = dict(
        type='OptimWrapper',
        constructor='GroupedOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=1.0),
        clip_grad=dict(max_norm=max_norm),
        paramwise_cfg=dict(clip_parts=('slow', 'still')),
    )
    wrapper = build_optim_wrapper(model, cfg)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss = model(torch.randn(4, 3)).square().mean() + 100 * model.still(torch.randn(2, 3)).square().mean()
    gradients = dict(zip(before, torch.autograd.grad(loss, list(model.parameters())[:8], retain_graph=True)))
    wrapper.update_params(loss)
    moved = {name: before[name] - p.detach() for name, p in model.named_parameters()}
    for part in ('fast', 'slow', 'still'):
        norm_of = [
            torch.stack([t[name].norm() for name in gradients if name.startswith(part)]) for t in (moved, gradients)
        ]
        norms = [norms.norm().item() for norms in norm_of]
        assert norms[0] == pytest.approx(min(max_norm, norms[1]), rel=1e-3)
    logged = wrapper.message_hub.get_scalar('train/grad_norm').current()
    assert logged == pytest.approx(torch.stack([g.norm() for g in gradients.values()]).norm().item(), rel=1e-4)


def test_a_part_that_is_not_there():
    init_default_scope('mmdet')
    cfg = dict(
        type='OptimWrapper',
        constructor='GroupedOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=1.0),
        clip_grad=dict(max_norm=1.0),
        paramwise_cfg=dict(clip_parts=('frozen',)),
    )
    with pytest.raises(ValueError, match="clip_parts has \\['frozen'\\], with which no name"):
        build_optim_wrapper(Model(), cfg)
