# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""What the command-line tools share."""

from .launch import (
    add_common_arguments,
    check_exists,
    load_config,
    prepare_launcher,
    set_local_rank,
)

__all__ = [
    'add_common_arguments',
    'check_exists',
    'load_config',
    'prepare_launcher',
    'set_local_rank',
]
