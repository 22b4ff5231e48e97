"""What the parts of the model hand to one another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet.structures import DetDataSample
from mmvisionllm.instructions import Instruction

Match = tuple[Tensor, Tensor]
"""Tokens of an image and the objects that they are matched to, both (n,)."""


@dataclass
class ImageTokens:
    """The image as M tokens ``T = {(e_i, l_i)}`` (paper, 3.3).

    Args:
        embeddings: (B, M, D) embeddings e_i.
        locations: (B, M, 2) center points l_i (x, y), normalized by the image's width and height.
        objectness: (B, M) logits: is there an object that the instruction asks for.
        extents: (B, M, 2) widths and heights, normalized, or None if the tokenizer regresses centers alone.
        layer_scores: (L, B, M, 1) objectness of every decoder layer, for the tokenizer's losses.
        layer_boxes: (L, B, M, 4) boxes (cx, cy, w, h) of every decoder layer, normalized.
    """

    embeddings: Tensor
    locations: Tensor
    objectness: Tensor
    extents: Tensor | None = None
    layer_scores: Tensor | None = None
    layer_boxes: Tensor | None = None

    # The axis of the images in each field; of the tokens it is the next one.
    axes: ClassVar[dict[str, int]] = dict(
        embeddings=0, locations=0, objectness=0, extents=0, layer_scores=1, layer_boxes=1
    )

    def select(self, images: list[int]) -> ImageTokens:
        """The tokens of some images of the batch."""
        if images == list(range(len(self.embeddings))):
            return self
        index = torch.tensor(images, device=self.embeddings.device)

        def pick(value: Tensor | list[Tensor] | None, axis: int) -> Tensor | list[Tensor] | None:
            if isinstance(value, list):
                return [pick(part, axis) for part in value]
            return None if value is None else value.index_select(axis, index)

        return replace(self, **{name: pick(getattr(self, name), axis) for name, axis in self.axes.items()})


@dataclass
class DecodedSet:
    """Raw answers for M objects per image.

    Args:
        class_logits: (B, M, C + 1) scores of ``<c0> ..`` and, last, of ``<none>``; -inf beyond an image's own C.
        point_logits: (B, M, N, 2, num_bins) scores of the location tokens.
        locations: (B, M, 2) points that offsets start from, normalized, without gradient.
        point_mask: (B, N) bool, False for points beyond those that an image's own instruction asks for.
    """

    class_logits: Tensor
    point_logits: Tensor
    locations: Tensor
    point_mask: Tensor


def set_instruction(sample: DetDataSample, instruction: Instruction) -> None:
    """Set a sample's instruction, also where ``PackDetInputs`` has passed one on (``meta_keys``)."""
    if 'instruction' in sample.metainfo_keys():
        sample.set_metainfo(dict(instruction=instruction))
    else:
        sample.instruction = instruction


def name_points(objects: InstanceData) -> InstanceData:
    """Objects whose polygons ``PackDetInputs`` has passed on as masks (n, N, 2), with ``points`` instead."""
    if isinstance(objects.get('masks'), Tensor):
        objects.points = objects.pop('masks')
    return objects
