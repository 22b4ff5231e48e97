"""DeepSpeed's ZeRO for the configs of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.device import get_device
from mmengine.model import BaseDataPreprocessor
from mmengine.optim import BaseOptimWrapper
from mmengine.registry import STRATEGIES
from torch import nn

from mmvisionllm.compat import BaseStrategy, DeepSpeedStrategy, SingleDeviceStrategy

_OF_STRATEGIES = ('work_dir', 'experiment_name', 'env_kwargs', 'log_kwargs', 'auto_scale_lr')


@STRATEGIES.register_module()
class DeepSpeedZeROStrategy(DeepSpeedStrategy):
    """mmengine's ``DeepSpeedStrategy`` with recent versions of DeepSpeed and with a config's own optimizer wrapper.

    Stages 1 and 2 divide optimizer states and gradients among the processes. Stage 3 would divide the weights as well,
    but finds them only by the modules whose ``forward`` uses them; embeddings of added tokens are read directly. For
    that there is :class:`FullyShardedStrategy`.

    Weights that an iteration's task does not use have zeros for gradients here, and none elsewhere: AdamW goes on moving
    them, by momentum and weight decay.

    A plain ``OptimWrapper`` config is translated: ``clip_grad`` to ``gradient_clipping``, ``accumulative_counts`` to
    ``gradient_accumulation_steps``. The batch size is the dataloader's.

    Args:
        zero_optimization: DeepSpeed's own, with ``stage`` 0, 1 or 2.
        config: Further settings of DeepSpeed.
        exclude_frozen_parameters: Leave frozen weights out of checkpoints.
        kwargs: Arguments of mmengine's strategies, and settings of DeepSpeed.

    Raises:
        ImportError: if DeepSpeed is not installed.
        ValueError: for stage 3, or an optimizer wrapper that cannot be translated.
    """

    def __init__(
        self,
        *,
        zero_optimization: dict[str, Any],
        config: dict[str, Any] | None = None,
        exclude_frozen_parameters: bool = False,
        **kwargs: Any,
    ) -> None:
        try:
            import deepspeed  # noqa: F401
        except ImportError as error:
            raise ImportError('DeepSpeedZeROStrategy needs DeepSpeed: pip install deepspeed') from error
        if zero_optimization.get('stage', 0) not in (0, 1, 2):
            raise ValueError(
                f'zero_optimization has stage {zero_optimization["stage"]}: use 1 or 2, or divide weights by '
                "strategy=dict(type='FullyShardedStrategy')"
            )
        own = {key: kwargs.pop(key) for key in _OF_STRATEGIES if key in kwargs}
        # Not mmengine's: it registers optimizers that DeepSpeed has dropped since, and fails.
        BaseStrategy.__init__(self, **own)
        self.exclude_frozen_parameters = exclude_frozen_parameters
        self._inputs_to_half = None
        self.config = {
            'steps_per_print': 2**31,  # mmengine logs
            'gradient_accumulation_steps': 1,
            'zero_optimization': dict(zero_optimization),
            # The optimizer is torch's, which DeepSpeed does not know to be safe with what it divides.
            'zero_allow_untested_optimizer': True,
            **(config or {}),
            **kwargs,
        }

    def build_optim_wrapper(
        self, optim_wrapper: BaseOptimWrapper | dict, model: nn.Module | None = None
    ) -> BaseOptimWrapper:
        """Build the wrapper, whose work DeepSpeed does itself."""
        if isinstance(optim_wrapper, dict):
            optim_wrapper = dict(optim_wrapper)
            kind = optim_wrapper.pop('type', 'OptimWrapper')
            if kind not in ('OptimWrapper', 'DeepSpeedOptimWrapper'):
                raise ValueError(
                    f'{kind} does not work with DeepSpeed: leave --amp out; with bf16=dict(enabled=True) in the '
                    'strategy, DeepSpeed computes in bfloat16'
                )
            clip = optim_wrapper.pop('clip_grad', None)
            if clip:
                if set(clip) - {'max_norm', 'norm_type'} or clip.get('norm_type', 2) != 2:
                    raise ValueError(f'DeepSpeed clips gradients by their 2-norm alone, got {clip}')
                self.config['gradient_clipping'] = clip['max_norm']
            if 'accumulative_counts' in optim_wrapper:
                counts = optim_wrapper.pop('accumulative_counts')
                self.config['gradient_accumulation_steps'] = counts
            optim_wrapper['type'] = 'DeepSpeedOptimWrapper'
        return super().build_optim_wrapper(optim_wrapper, model)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        for module in model.modules():
            if isinstance(module, BaseDataPreprocessor):
                module.to(get_device())  # it remembers where to put images
        size = self.dispatch_kwargs.get('train_micro_batch_size_per_gpu', 1)
        self.config['train_micro_batch_size_per_gpu'] = size
        if hasattr(self, 'optim_wrapper'):
            self._scale_lr()  # mmengine's strategy leaves `--auto-scale-lr` out
        return super()._wrap_model(model)

    def load_checkpoint(self, filename: str, **kwargs: Any) -> dict:
        """Load the weights of a checkpoint: DeepSpeed's folder, or a file, as all other trainings leave them."""
        if Path(filename).is_dir():
            return super().load_checkpoint(filename, **kwargs)
        checkpoint = SingleDeviceStrategy.load_checkpoint(self, filename, **kwargs)
        optimizer = getattr(self.model, 'optimizer', None)
        if hasattr(optimizer, 'refresh_fp32_params'):
            optimizer.refresh_fp32_params()  # the optimizer steps on copies of the weights
        return checkpoint

    def load_model_state_dict(self, state_dict: dict, **kwargs: Any) -> None:
        """Load whole weights into the model inside of DeepSpeed's engine."""
        engine, self.model = self.model, self.model.module
        try:
            super().load_model_state_dict(state_dict, **kwargs)
        finally:
            self.model = engine

    def resume(self, filename: str, **kwargs: Any) -> dict:
        """Go on from a checkpoint of DeepSpeed's.

        Raises:
            ValueError: for a checkpoint of another kind of training, whose optimizer states are not divided.
        """
        if Path(filename).is_file():
            raise ValueError(
                f'{filename} was not saved by DeepSpeed: train on with the strategy that saved it, or start from its '
                'weights alone (load_from, without --resume)'
            )
        return super().resume(filename, **kwargs)
