# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""What training on a CPU asks of the memory allocator."""

from __future__ import annotations

import ctypes

# Of glibc's mallopt (malloc.h). The threshold is the highest that it takes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the process keep the memory that it frees, for the next step to take again.

    By default, glibc hands the large blocks of a training step's activations back to the system, which zeroes and maps
    them again in the next step, page by page: a fifteenth of the time of a step of the small models. Blocks above 32 MiB
    are handed back still.

    Returns:
        Whether there is a glibc that could be told so.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD) and mallopt(M_TRIM_THRESHOLD, NEVER))
