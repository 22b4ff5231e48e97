"""Run with TRITON_INTERPRET=1, which must be set before triton is imported: the kernels against PyTorch, as JSON."""

import json

import torch
import triton

from mmvisionllm.models.layers.dcnv3 import dcnv3
from mmvisionllm.models.layers.dcnv3.self_check import triton_agrees

CASES = {
    'plain': dict(padding=1, groups=2),
    'unusual': dict(kernel_size=(3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), offset_scale=1.5),
    'no center': dict(padding=1, groups=2, remove_center=True),
}


def main() -> None:
    assert triton.knobs.runtime.interpret
    assert triton_agrees(torch.device('cpu'))  # else PyTorch would be compared with itself
    torch.manual_seed(0)
    found = {}
    for name, settings in CASES.items():
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            groups = settings.get('groups', 1)
            points = 6 if name == 'unusual' else 9 - settings.get('remove_center', False)
            out_size = (3, 4) if name == 'unusual' else (5, 6)
            inputs = [
                torch.randn(2, 5, 6, 3 * groups),
                torch.randn(2, *out_size, groups * points * 2) * 2.5,
                torch.randn(2, *out_size, groups * points),
            ]
            inputs = [t.to(dtype).requires_grad_() for t in inputs]
            results = []
            for implementation in ('pytorch', 'triton'):
                out = dcnv3(*inputs, **settings, implementation=implementation)
                weight = torch.linspace(-1, 1, out.numel(), dtype=dtype).view_as(out)
                results.append([out, *torch.autograd.grad(out, inputs, weight)])
            found[f'{name}, {dtype}'] = [
                float((a - b).abs().max() / a.abs().max().clamp(min=1)) for a, b in zip(*results)
            ]
    print(json.dumps(found))


if __name__ == '__main__':
    main()
