# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Reading mmengine's checkpoints under every supported pair of mmengine and torch."""

import logging
import os

import mmengine
import torch
from mmengine.logging import print_log
from mmengine.utils import digit_version

_FORCE_FULL = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
_FORCE_SAFE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'


def allow_mmengine_checkpoints() -> bool:
    """Let OpenMMLab's mmengine load its own checkpoints under torch >= 2.6.

    Since 2.6 ``torch.load`` refuses pickled objects by default, and mmengine's checkpoints hold some
    (the history of the logs). The maintained continuation handles that; mmengine 0.10.7 fails.
    For it, torch's own switch back to the former default is set for this process, unless the user
    has forced either way by environment variable. As ever: load only checkpoints that you trust.

    Returns:
        Whether the switch was set by this call.
    """
    old_mmengine = digit_version(mmengine.__version__) <= digit_version('0.10.7')
    new_torch = digit_version(torch.__version__) >= digit_version('2.6.0')
    chosen = _FORCE_FULL in os.environ or _FORCE_SAFE in os.environ
    if not (old_mmengine and new_torch) or chosen:
        return False
    os.environ[_FORCE_FULL] = '1'
    print_log(
        f'mmengine {mmengine.__version__} can read its checkpoints under torch {torch.__version__} '
        f'only with {_FORCE_FULL}=1, which is now set. Load only checkpoints that you trust.',
        'current',
        logging.WARNING,
    )
    return True
