"""A decoder for tokens that are boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet.registry import MODELS
from mmdet.utils import ConfigType
from mmvisionllm.instructions import Instruction
from mmvisionllm.models.heads import OpenEndedDecoder
from mmvisionllm.models.heads.set_criterion import expected_bins
from mmvisionllm.models.heads.set_targets import set_targets
from mmvisionllm.models.structures import ImageTokens, Match

from .step_budget import images_within


@MODELS.register_module()
class BoxDecoder(OpenEndedDecoder):
    """:class:`OpenEndedDecoder` that goes on from a Deformable DETR's boxes (:class:`BoxTokenHead`).

    Tokens enter the language model by their boxes: with boxes refined from layer to layer, embeddings hold what a layer
    changes of a box, and not the box. The tokens that the tokenizer has matched are decoded alone. Coordinates are read
    off their bins as expectations.

    Args:
        tokens_per_step: Most tokens that the language model sees at once in training on sets of objects, see
            :func:`images_within`: the tokenizer learns from all images of a batch, the language model from those that
            fit, at least one. None for all.

    Raises:
        ValueError: for an ``assigner``, which has nothing to match.
    """

    num_coordinates = 4

    def __init__(self, language_model: ConfigType, *args, tokens_per_step: int | None = None, **kwargs) -> None:
        super().__init__(language_model, *args, **kwargs)
        if self.assigner is not None:
            raise ValueError('BoxDecoder learns from the matches of the tokenizer: leave the assigner out of train_cfg')
        self.tokens_per_step = tokens_per_step

    def coordinates(self, locations: Tensor, extents: Tensor | None = None) -> Tensor:
        """(B, M, 4) boxes (cx, cy, w, h).

        Raises:
            ValueError: if the tokenizer tells centers alone.
        """
        if extents is None:
            raise ValueError("BoxDecoder enters tokens by their boxes: set neck.token_head.type='BoxTokenHead'")
        return torch.cat([locations, extents], -1)

    def bins(self, logits: Tensor) -> Tensor:
        """(..., num_bins) scores of location tokens -> (...,) expected bins."""
        return expected_bins(logits)

    def loss(
        self,
        tokens: ImageTokens,
        instructions: Sequence[Instruction],
        batch_gt_instances: list[InstanceData],
        matches: list[Match],
        batch_img_metas: list[dict],
    ) -> dict[str, Tensor]:
        """See :class:`OpenEndedDecoder`."""
        if self.tokens_per_step is not None:
            counts, per_image = [len(index) for index, _ in matches], tokens.embeddings.size(1)
            images = images_within(self.tokens_per_step, self.language_model.tokenizer, instructions, counts, per_image)
            tokens = tokens.select(images)
            matches, instructions, batch_gt_instances, batch_img_metas = (
                [part[i] for i in images] for part in (matches, instructions, batch_gt_instances, batch_img_metas)
            )
        targets = set_targets(matches, instructions, batch_gt_instances, batch_img_metas)
        return self.loss_by_feat(self(tokens, instructions, targets.indices), targets)
