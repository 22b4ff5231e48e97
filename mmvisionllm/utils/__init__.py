# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""What the command-line tools share."""

from .checkpoint import allow_mmengine_checkpoints
from .launch import (
    add_cfg_options,
    add_common_arguments,
    check_exists,
    load_config,
    parse_conversion,
    prepare_launcher,
    set_local_rank,
)
from .memory import keep_freed_memory
from .package_weights import available_weights, load_package_weights

__all__ = [
    'add_cfg_options',
    'add_common_arguments',
    'allow_mmengine_checkpoints',
    'check_exists',
    'keep_freed_memory',
    'load_package_weights',
    'available_weights',
    'load_config',
    'parse_conversion',
    'prepare_launcher',
    'set_local_rank',
]
