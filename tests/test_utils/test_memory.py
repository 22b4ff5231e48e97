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
print(resident() - before)
"""


def kept(keep: bool) -> float:
    """MiB that a process holds after steps of 31 MiB each."""
    done = subprocess.run([sys.executable, '-c', STEPS, str(int(keep))], capture_output=True, text=True)
    if 'no glibc' in done.stderr:
        pytest.skip('not a glibc')
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1]) / 1024


def test_a_step_takes_what_the_last_one_freed():
    """Held, and not taken anew in each of the 12."""
    assert 31 <= kept(keep=True) < 2 * 31
