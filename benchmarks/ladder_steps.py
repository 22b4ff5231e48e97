"""Decoders between the paper's form and ours, for :mod:`recipe_variants`."""

from __future__ import annotations

from torch import Tensor

from mmdet.registry import MODELS
from mmvisionllm.extensions import BoxDecoder
from mmvisionllm.models.heads import OpenEndedDecoder
from mmvisionllm.models.heads.set_criterion import expected_bins


@MODELS.register_module()
class ExpectationDecoder(OpenEndedDecoder):
    """Reads coordinates off their bins as expectations."""

    def bins(self, logits: Tensor) -> Tensor:
        return expected_bins(logits)


@MODELS.register_module()
class CenterDecoder(BoxDecoder):
    """Enters centers instead of boxes."""

    num_coordinates = 2

    def coordinates(self, locations: Tensor, extents: Tensor | None = None) -> Tensor:
        return locations
