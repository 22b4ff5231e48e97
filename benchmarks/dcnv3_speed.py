"""This package's DCNv3 against the plain grid_sample formulation: forward and backward, time and peak memory.

    python benchmarks/dcnv3_speed.py [--device cpu|cuda] [--dtype float32] [--repeats 5] [--stages 1 2 3 4]

Shapes are those of InternImage-T's four stages for an image of 800x1333, and for one of 256x256. On CUDA also mmcv's
modulated deformable convolution (DCNv2, which multiplies by a matrix as well) and, if it can be imported, the official
DCNv3; and the bandwidth that the kernels reach, counting each tensor read or written
once, against that of copying on this device.

On the CPU each peak is taken in a process of its own: the growth of the peak resident size over that just before the
first call, inputs made. The runs that are timed alternate between the candidates. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvisionllm.models.layers.dcnv3 import dcnv3

GROUPS, CHANNELS, KERNEL = (4, 8, 16, 32), 64, 3
IMAGES = ((800, 1333), (256, 256))


def grid_sample_dcnv3(value: Tensor, offset: Tensor, mask: Tensor, groups: int) -> Tensor:
    """The baseline: all samples at once by grid_sample, then times mask, then summed. 3x3, stride 1, padding 1."""
    batch, height, width, channels = value.shape
    points = KERNEL**2
    rows, columns = (torch.arange(n, device=value.device) for n in (height, width))
    steps = torch.arange(KERNEL, device=value.device) - KERNEL // 2
    column_steps, row_steps = (s.flatten() for s in torch.meshgrid(steps, steps, indexing='ij'))
    offset = offset.view(batch, height, width, groups, points, 2)
    x = columns[:, None, None] + column_steps + offset[..., 0]
    y = rows[:, None, None, None] + row_steps + offset[..., 1]
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), -1)
    grid = grid.permute(0, 3, 1, 2, 4, 5).reshape(batch * groups, height * width, points, 2)
    images = value.permute(0, 3, 1, 2).reshape(batch * groups, -1, height, width)
    sampled = F.grid_sample(images, grid.to(value.dtype), align_corners=False)
    mask = mask.view(batch, height * width, groups, points).transpose(1, 2)
    out = (sampled * mask.reshape(batch * groups, 1, height * width, points)).sum(-1)
    return out.view(batch, channels, height, width).permute(0, 2, 3, 1).contiguous()


def stage_shape(image: tuple[int, int], stage: int) -> tuple[int, int, int]:
    """Height, width and channels of InternImage-T's stage 1 to 4."""
    height, width = (-(-side // 2 ** (stage + 1)) for side in image)
    return height, width, CHANNELS * 2 ** (stage - 1)


def make_inputs(shape: tuple[int, int, int], groups: int, args: argparse.Namespace) -> list[Tensor]:
    """Value, offset (a standard deviation of one pixel), mask and the output's gradient."""
    torch.manual_seed(0)
    height, width, channels = shape
    points = groups * KERNEL**2
    value, offset, grad = (torch.randn(1, height, width, n) for n in (channels, 2 * points, channels))
    mask = torch.randn(1, height, width, groups, KERNEL**2).softmax(-1).flatten(-2)
    dtype = getattr(torch, args.dtype)
    return [tensor.to(args.device, dtype) for tensor in (value, offset, mask, grad)]


def step(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Forward and backward; the output and the three gradients."""
    leaves = [tensor.detach().requires_grad_() for tensor in inputs[:3]]
    out = function(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, inputs[3])]


def candidates(groups: int, channels: int, args: argparse.Namespace) -> dict[str, Callable]:
    """What is measured, by name: (value, offset, mask) -> output."""

    def ours(implementation: str) -> Callable[..., Tensor]:
        def run(value: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
            settings = dict(padding=1, groups=groups, implementation=implementation)
            return dcnv3(value, offset, mask, KERNEL, **settings)

        return run

    found = dict(
        grid_sample=lambda value, offset, mask: grid_sample_dcnv3(value, offset, mask, groups), pytorch=ours('pytorch')
    )
    if args.device != 'cuda':
        return found
    from mmcv.ops import modulated_deform_conv2d

    found['triton'] = ours('triton')
    weight = torch.randn(channels, channels // groups, KERNEL, KERNEL, device='cuda')
    weight = weight.to(getattr(torch, args.dtype))

    def dcnv2(value: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        first = [t.permute(0, 3, 1, 2).contiguous() for t in (value, offset, mask)]
        return modulated_deform_conv2d(
            *first, weight, None, 1, 1, 1, groups, groups
        ).permute(0, 2, 3, 1)  # fmt: skip

    found['mmcv_dcnv2'] = dcnv2
    try:
        import DCNv3  # noqa: F401

        found['official'] = ours('official')
    except ImportError:
        print('the official DCNv3 is not installed: left out')
    return found


def seconds(function: Callable[[], object], device: str) -> float:
    if device == 'cuda':
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_mb(name: str, image: tuple[int, int], stage: int, args: argparse.Namespace) -> float:
    """Most memory in MB that forward and backward take beside their inputs."""
    if args.device == 'cuda':
        shape = stage_shape(image, stage)
        inputs = make_inputs(shape, GROUPS[stage - 1], args)
        function = candidates(GROUPS[stage - 1], shape[2], args)[name]
        step(function, inputs)  # compiles
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(function, inputs)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    command = [sys.executable, __file__, '--dtype', args.dtype, '--threads', str(args.threads)]
    command += ['--peak-of', name, str(stage), *map(str, image)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def print_peak(args: argparse.Namespace) -> None:
    """In the process of its own: see the module's docstring."""
    name, *numbers = args.peak_of
    stage, *image = map(int, numbers)
    shape = stage_shape(tuple(image), stage)
    inputs = make_inputs(shape, GROUPS[stage - 1], args)
    function = candidates(GROUPS[stage - 1], shape[2], args)[name]
    # What a first call loads (libraries, thread pools) is not the operator's: a call with a small input comes first.
    step(function, make_inputs((8, 8, shape[2]), GROUPS[stage - 1], args))
    before = peak_resident_mb()
    step(function, inputs)
    print(peak_resident_mb() - before)


def peak_resident_mb() -> float:
    """This process's peak so far (Linux). Not ru_maxrss, which begins at the parent's size."""
    status = Path('/proc/self/status').read_text()
    return int(status.split('VmHWM:')[1].split()[0]) * 1024 / 1e6


def copy_bandwidth() -> float:
    """GB/s of copying 1 GB on the GPU, read and write counted."""
    source = torch.empty(2**28, dtype=torch.float32, device='cuda')
    target = torch.empty_like(source)
    times = [seconds(lambda: target.copy_(source), 'cuda') for _ in range(10)]
    return 2 * source.nbytes / min(times) / 1e9


def measure(image: tuple[int, int], stage: int, args: argparse.Namespace) -> dict[str, object]:
    """All candidates at one shape."""
    shape = stage_shape(image, stage)
    groups = GROUPS[stage - 1]
    inputs = make_inputs(shape, groups, args)
    functions = candidates(groups, shape[2], args)
    results = {name: step(function, inputs) for name, function in functions.items()}
    forward, both = ({name: [] for name in functions} for _ in range(2))
    for _ in range(args.repeats):
        for name, function in functions.items():
            with torch.no_grad():
                forward[name].append(seconds(lambda: function(*inputs[:3]), args.device))  # noqa: B023
            both[name].append(seconds(lambda: step(function, inputs), args.device))  # noqa: B023
    row: dict[str, object] = dict(image=image, stage=stage, shape=shape, groups=groups)
    # Read value, offset, mask, gradient; write output and three gradients; backward reads the first three again.
    moved = 3 * sum(t.nbytes for t in inputs[:3]) + 2 * inputs[3].nbytes
    for name in functions:
        row[name] = dict(
            forward_ms=round(statistics.median(forward[name]) * 1e3, 3),
            forward_backward_ms=round(statistics.median(both[name]) * 1e3, 3),
            peak_mb=round(peak_mb(name, image, stage, args), 1),
        )
        if name != 'mmcv_dcnv2':  # another function
            difference = (results[name][0] - results['grid_sample'][0]).abs().max()
            row[name]['output_difference'] = float(difference)
        if args.device == 'cuda':
            row[name]['gb_per_s'] = round(moved / statistics.median(both[name]) / 1e9, 1)
    best = 'triton' if 'triton' in functions else 'pytorch'
    baseline, ours = row['grid_sample'], row[best]
    row['speedup'] = round(baseline['forward_backward_ms'] / ours['forward_backward_ms'], 2)
    row['memory_ratio'] = round(ours['peak_mb'] / max(baseline['peak_mb'], 1e-6), 3)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--dtype', default='float32')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--stages', type=int, nargs='+', default=[1, 2, 3, 4])
    parser.add_argument('--peak-of', nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak_of:
        print_peak(args)
        return
    rows = []
    for image in IMAGES:
        for stage in args.stages:
            rows.append(measure(image, stage, args))
            print(json.dumps(rows[-1]), flush=True)
    summary = dict(device=args.device, dtype=args.dtype, threads=args.threads, rows=rows)
    if args.device == 'cuda':
        summary.update(name=torch.cuda.get_device_name(), copy_gb_per_s=round(copy_bandwidth(), 1))
    print(json.dumps(summary))


if __name__ == '__main__':
    main()
