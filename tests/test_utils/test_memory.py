# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""mmvisionllm.utils.memory: freed blocks are taken again without the system's help."""

import subprocess
import sys

import pytest

STEPS = """
import sys, torch
from mmvisionllm.utils import keep_freed_memory
if int(sys.argv[1]) and not keep_freed_memory():
    sys.exit('no glibc')

def resident():
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith('VmRSS:'))  # KiB

torch.set_num_threads(1)
before = resident()
for step in range(12):
    blocks = [torch.ones(size, 2**18) for size in (3, 11, 9, 8)]  # 31 MiB, held at once as activations are
    del blocks
    if step in (0, 11):
        print((resident() - before) / 1024)
"""


def kept(keep: bool) -> list[float]:
    """MiB that a process holds after the first and the twelfth step of 31 MiB each."""
    done = subprocess.run([sys.executable, '-c', STEPS, str(int(keep))], capture_output=True, text=True)
    if 'no glibc' in done.stderr:
        pytest.skip('not a glibc')
    assert done.returncode == 0, done.stderr
    return [float(line) for line in done.stdout.split()[-2:]]


def test_a_step_takes_what_the_last_one_freed():
    first, last = kept(keep=True)
    assert first > 0.9 * 31 and last < 2 * 31  # held, and not taken anew in each of the twelve
    assert kept(keep=False)[0] < 31 / 2  # later ones may be held: glibc learns from what is freed
