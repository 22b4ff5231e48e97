"""What a device does at best, and how much memory a process takes."""

from __future__ import annotations

import argparse
import ctypes
import time
from pathlib import Path

import torch
from dcnv3_speed import peak_resident_mb


def synchronize(args: argparse.Namespace) -> None:
    """Wait for the GPU, if it is one."""
    if args.device == 'cuda':
        torch.cuda.synchronize()


def matmul_flops(args: argparse.Namespace) -> float:
    """Best FLOP/s of a square matmul."""
    side = 8192 if args.device == 'cuda' else 2048
    a, b = torch.randn(2, side, side, device=args.device).to(getattr(torch, args.dtype))
    best = float('inf')
    for _ in range(4):
        synchronize(args)
        start = time.perf_counter()
        a @ b
        synchronize(args)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def peak_mb(args: argparse.Namespace, reset: bool = False) -> float:
    """Most memory since the last reset, in MB: the allocator's on a GPU, else the resident size (Linux)."""
    if args.device == 'cuda':
        if reset:
            torch.cuda.reset_peak_memory_stats()
            return torch.cuda.memory_allocated() / 1e6
        return torch.cuda.max_memory_allocated() / 1e6
    if reset:  # the highest so far, of building and warming up, is not the run's, nor is what they have freed
        ctypes.CDLL('libc.so.6').malloc_trim(0)
        Path('/proc/self/clear_refs').write_text('5')
    return peak_resident_mb()
