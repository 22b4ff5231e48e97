"""Fully sharded data parallelism for a frozen language model in bfloat16 with adapters in float32."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_dist
from mmengine.device import get_device
from mmengine.dist import barrier
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import STRATEGIES
from torch import Tensor, nn

from mmvisionllm.compat import DDPStrategy

try:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard
    from torch.distributed.tensor import DTensor, distribute_tensor
except ImportError:  # torch < 2.6
    fully_shard = None


def sharding_units(model: nn.Module) -> Iterator[nn.Module]:
    """Modules that are gathered as a whole, from the inside to the outside, without ``model`` itself.

    They are those of the classes that a part of the model names in ``_no_split_modules``, as transformers' models name
    their layers, and :class:`InternImage` its blocks.
    """
    units: dict[nn.Module, None] = {}
    for part in model.modules():
        names = getattr(part, '_no_split_modules', None) or ()
        units.update(dict.fromkeys(m for m in part.modules() if type(m).__name__ in names and m is not model))
    depth = {module: name.count('.') for name, module in model.named_modules()}
    yield from sorted(units, key=depth.get, reverse=True)


def full(value: Any, keep: bool = True) -> Any:
    """A state in which sharded tensors have become whole ones on the CPU; all processes have to call it.

    Args:
        value: Tensor, or dicts and lists of them; all else is taken over.
        keep: False for processes that only help: they get None instead of sharded tensors.
    """
    if isinstance(value, dict):
        return type(value)((key, full(item, keep)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return type(value)(full(item, keep) for item in value)
    if isinstance(value, DTensor):
        whole = value.full_tensor()
        return whole.cpu() if keep else None
    return value


def sharded_like(whole: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, if ``like`` is sharded and of its shape; otherwise what is given."""
    if not isinstance(like, DTensor) or whole.shape != like.shape:
        return whole
    # Their device is the mesh's, also where parts rest on the CPU.
    whole = whole.to(like.device_mesh.device_type)
    return distribute_tensor(whole, like.device_mesh, like.placements)


@STRATEGIES.register_module()
class FullyShardedStrategy(DDPStrategy):
    """Weights, gradients and optimizer states divided among the processes, by PyTorch's ``fully_shard`` (FSDP2).

    mmengine's ``FSDPStrategy`` flattens the weights of a unit into one tensor, which needs them all of one type. The
    paper's language model is frozen in bfloat16, its adapters train in float32, and both are in each layer.
    ``fully_shard`` shards weight by weight. Checkpoints are those of a single process, in one file: they may be resumed
    with another number of processes, and without this strategy.

    All processes must use the same layers in an iteration: batches of one task each (:class:`TaskSampler`).

    Args:
        reshard_after_forward: Free a layer's gathered weights until the backward pass. False saves a third of the
            communication, and holds the whole language model in each process from the forward pass on.
        cpu_offload: Keep the shards in the CPU's memory, where the optimizer then runs.
        kwargs: Arguments of mmengine's strategies.

    Raises:
        ImportError: with torch < 2.6, which has no ``fully_shard``.
    """

    def __init__(self, *, reshard_after_forward: bool = True, cpu_offload: bool = False, **kwargs: Any) -> None:
        if fully_shard is None:
            raise ImportError(
                f'FullyShardedStrategy needs torch >= 2.6, this is {torch.__version__}: update it, or use '
                "strategy=dict(type='DDPStrategy')"
            )
        super().__init__(**kwargs)
        self.reshard_after_forward = reshard_after_forward
        self.cpu_offload = cpu_offload
        self._gathered: dict[str, dict] = {}

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        """Shard in place: the model keeps its type and its weights their names.

        Raises:
            ValueError: if weights that are gathered together are to be trained in different types.
        """
        for module in model.modules():
            if isinstance(module, BaseDataPreprocessor):
                module.to(get_device())  # it remembers where to put images
        model = self.convert_model(model)
        # NCCL works on GPUs alone, and `get_device` may name one by its number.
        mesh = init_device_mesh(torch.device(get_device()).type, (torch_dist.get_world_size(),))
        policy = CPUOffloadPolicy() if self.cpu_offload else OffloadPolicy()
        self._units = list(sharding_units(model))
        for unit in self._units:
            _check_types(unit)
            fully_shard(unit, mesh=mesh, reshard_after_forward=self.reshard_after_forward, offload_policy=policy)
        _check_types(model)
        # The rest is gathered once: embeddings are read outside of their modules' forward.
        fully_shard(model, mesh=mesh, reshard_after_forward=False, offload_policy=policy)
        # Validation does without further communication: what is generated differs in length from process to process.
        model.register_forward_pre_hook(self._prepare_forward, prepend=True)
        self.logger.info(f'Sharded {len(self._units)} layers and the rest among {mesh.size()} processes')
        return model

    def _prepare_forward(self, model: nn.Module, args: tuple) -> None:
        reshard = self.reshard_after_forward and model.training
        for unit in self._units:
            unit.set_reshard_after_forward(reshard, recurse=False)

    def save_checkpoint(self, filename: str, *, save_optimizer: bool = True, **kwargs: Any) -> None:
        """Gather in all processes and write in the first; the file gets its name when it is whole."""
        keep = torch_dist.get_rank() == 0
        self._gathered = dict(model=full(self.model.state_dict(), keep))
        if save_optimizer and hasattr(self, 'optim_wrapper'):
            self._gathered['optimizer'] = full(self.optim_wrapper.state_dict(), keep)
        temporary = filename
        if '://' not in filename:
            temporary = str(Path(filename).with_name(f'.{Path(filename).name}.tmp'))
        try:
            super().save_checkpoint(temporary, save_optimizer=save_optimizer, **kwargs)
            if keep and temporary != filename:
                os.replace(temporary, filename)
        finally:
            self._gathered = {}
        barrier()  # nobody shall look for a checkpoint that is still being written

    def model_state_dict(self) -> dict:
        """Whole weights while a checkpoint is saved, this process's parts otherwise."""
        return self._gathered.get('model') or self.model.state_dict()

    def optim_state_dict(self) -> dict:
        """Whole states while a checkpoint is saved, this process's parts otherwise."""
        return self._gathered.get('optimizer') or super().optim_state_dict()

    def load_model_state_dict(self, state_dict: dict, **kwargs: Any) -> None:
        """Load whole weights."""
        ours = self.model.state_dict()
        parts = {key: sharded_like(value, ours[key]) if key in ours else value for key, value in state_dict.items()}
        super().load_model_state_dict(parts, **kwargs)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load whole states."""
        groups = self.optim_wrapper.optimizer.param_groups
        parameters = [parameter for group in groups for parameter in group['params']]
        states = {
            number: {
                key: sharded_like(value, parameters[number]) if isinstance(value, Tensor) else value
                for key, value in state.items()
            }
            for number, state in state_dict['state'].items()
        }
        super().load_optim_state_dict({**state_dict, 'state': states})


def _check_types(unit: nn.Module) -> None:
    types = {
        parameter.dtype
        for parameter in unit.parameters()
        if parameter.requires_grad and not isinstance(parameter, DTensor)
    }
    if len(types) > 1:
        raise ValueError(
            f'{type(unit).__name__} has weights to be trained in {sorted(map(str, types))}, whose gradients cannot be '
            "summed together: train the language model's own weights in float32 (torch_dtype='float32'; --amp computes "
            'in bfloat16 all the same), or freeze them'
        )
