"""DCNv3 between its projections."""

import pytest
import torch
from torch.nn import functional as F

from mmvisionllm.models.layers.dcnv3 import DCNv3


def test_starts_as_a_mean_over_the_grid():
    torch.manual_seed(0)
    layer = DCNv3(8, group=2).double()
    x = torch.randn(1, 5, 6, 8, dtype=torch.float64)
    mean = F.avg_pool2d(layer.input_proj(x).permute(0, 3, 1, 2), 3, 1, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(layer(x), layer.output_proj(mean))


def test_center_gate():
    torch.manual_seed(0)
    layer = DCNv3(8, group=2, center_feature_scale=True, dw_kernel_size=5)
    x = torch.randn(1, 5, 6, 8)
    with torch.no_grad():
        layer.center_feature_scale_proj_bias.copy_(torch.tensor([100.0, -100.0]))
        open_gate = layer.input_proj(x)
        mean = F.avg_pool2d(open_gate.permute(0, 3, 1, 2), 3, 1, 1).permute(0, 2, 3, 1)
        wanted = layer.output_proj(torch.cat([open_gate[..., :4], mean[..., 4:]], -1))
        torch.testing.assert_close(layer(x), wanted)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    torch.manual_seed(0)
    layer = DCNv3(8, group=2, center_feature_scale=True)
    for parameter in layer.parameters():  # some start at 0, and then others have no gradient
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 6, 7, 8, requires_grad=True)
    with torch.autocast('cpu', dtype):
        out = layer(x)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), layer(x), rtol=0.05, atol=0.05)
    out.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in layer.parameters())


def test_strides():
    assert DCNv3(8, group=2, stride=2)(torch.zeros(1, 6, 8, 8)).shape == (1, 3, 4, 8)
    with pytest.raises(ValueError, match='stride must be 1'):
        DCNv3(8, group=2, stride=2, center_feature_scale=True)


def test_groups_must_divide():
    with pytest.raises(ValueError, match='channels=8 and group=3'):
        DCNv3(8, group=3)
