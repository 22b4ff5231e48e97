# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""mmvisionllm.utils.memory: freed blocks are taken again without the system's help."""

import subprocess
import sys

import pytest

STEPS = """
import resource, sys, torch
from mmvisionllm.utils import keep_freed_memory
if int(sys.argv[1]) and not keep_freed_memory():
    sys.exit('no glibc')
torch.set_num_threads(1)
for step in range(12):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(size, 2**18) for size in (3, 11, 9, 8)]  # 3 to 11 MiB, held at once as activations are
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    """Page faults of ten steps in a process of its own."""
    done = subprocess.run([sys.executable, '-c', STEPS, str(int(keep))], capture_output=True, text=True)
    if 'no glibc' in done.stderr:
        pytest.skip('not a glibc')
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def test_a_step_takes_what_the_last_one_freed():
    assert faults(keep=True) < 0.1 * faults(keep=False)
