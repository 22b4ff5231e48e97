"""Tokens that are boxes and not centers alone, as a Deformable DETR's queries are."""

from __future__ import annotations

from mmdet.registry import MODELS
from mmdet.utils import OptConfigType
from mmvisionllm.models.necks.image_token_head import ImageTokenHead


@MODELS.register_module()
class BoxTokenHead(ImageTokenHead):
    """:class:`ImageTokenHead` that regresses width and height, too.

    Tokens are matched by their boxes, and every layer of the tokenizer is supervised as in Deformable DETR. The boxes
    supervise, and enter the language model (:class:`BoxDecoder`), from which all results come.

    Args:
        loss_iou: mmdet IoU loss on the boxes.
    """

    with_extent = True

    def __init__(self, *args, loss_iou: OptConfigType = None, **kwargs) -> None:
        super().__init__(*args, loss_iou=loss_iou or dict(type='GIoULoss', loss_weight=2.0), **kwargs)
