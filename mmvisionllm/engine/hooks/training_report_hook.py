"""What trains, and what it takes."""

from __future__ import annotations

import inspect

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch import nn
from torch.optim import Optimizer

from mmdet.registry import HOOKS
from mmvisionllm.utils.meta_build import count_parameters, format_counts


@HOOKS.register_module()
class TrainingReportHook(Hook):
    """Log at the start of training how many parameters of each part train, and the memory that is known beforehand."""

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Log the report."""
        wrapper = runner.optim_wrapper
        wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
        optimizers = [w.optimizer for w in wrappers]
        runner.logger.info(
            f'What trains:\n{format_counts(count_parameters(runner.model))}\n'
            f'{format_memory(expected_memory(runner.model, optimizers))}'
        )


def expected_memory(model: nn.Module, optimizers: list[Optimizer]) -> dict[str, int | None]:
    """Bytes in this process of ``weights`` (and buffers), ``gradients`` and ``optimizer states``.

    Where parameters are sharded, it is this process's shards. None where an optimizer does not say what it will keep.
    """
    tensors = [*model.parameters(), *model.buffers()]
    states: int | None = 0
    for optimizer in optimizers:
        share = state_share(optimizer)
        trained = [p for group in optimizer.param_groups for p in group['params'] if p.requires_grad]
        states = None if None in (states, share) else states + round(share * _size(trained))
    return {
        'weights': _size(tensors),
        'gradients': _size([p for p in model.parameters() if p.requires_grad]),
        'optimizer states': states,
    }


def _size(tensors: list[torch.Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def state_share(optimizer: Optimizer) -> float | None:
    """Bytes of state that an optimizer keeps per byte of its parameters: 2 for Adam.

    Found by a step on a weight of its own; None if the optimizer cannot be made anew from its settings.
    """
    weight = nn.Parameter(torch.zeros(128, 128))
    weight.grad = torch.zeros_like(weight)
    try:
        known = inspect.signature(type(optimizer).__init__).parameters
        settings = {key: value for key, value in optimizer.defaults.items() if key in known}
        trial = type(optimizer)([weight], **settings)
        trial.step()
        kept = [t for t in trial.state[weight].values() if torch.is_tensor(t) and t.numel() > 1]
    except Exception:  # an estimate must not stop a training, whatever a foreign optimizer does
        return None
    return _size(kept) / _size([weight])


def format_memory(memory: dict[str, int | None]) -> str:
    """Lines in GB (1e9 bytes), and what is not in them."""
    lines = [
        f'{what}: {"not known for this optimizer" if size is None else f"{size / 1e9:.3f} GB"}'
        for what, size in memory.items()
    ]
    total = sum(size or 0 for size in memory.values())
    return '\n'.join(
        [
            'Expected memory of each process:',
            *lines,
            f'together: {total / 1e9:.3f} GB',
            'Not counted: activations (they grow with images, their size and objects; gradient_checkpointing saves '
            "most of the language model's), copies that mixed precision and DistributedDataParallel keep (as large as "
            'the gradients), what the GPU libraries take',
        ]
    )
