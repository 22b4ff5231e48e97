"""Match cost that keeps groups of queries apart."""

from __future__ import annotations

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from mmdet.registry import TASK_UTILS


@TASK_UTILS.register_module()
class QueryGroupCost(BaseMatchCost):
    """Forbids that a query is matched to an object of another group.

    Queries are G groups of ``group_size``, and the objects are there G times, one after the other: the assignment of
    all of them at once is a bipartite matching within each group.

    Args:
        group_size: M, queries of a group.
        weight: What a pair of different groups costs; more than all other costs can add up to.
    """

    def __init__(self, group_size: int, weight: float = 1e4) -> None:
        super().__init__(weight)
        self.group_size = group_size

    def __call__(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        img_meta: dict | None = None,
        **kwargs: object,
    ) -> Tensor:
        """(G M, G n) costs of G M queries and G n objects: 0 within a group."""
        device = gt_instances.bboxes.device
        queries, objects = len(pred_instances), len(gt_instances)
        num_groups = queries // self.group_size
        query_groups = torch.arange(queries, device=device) // self.group_size
        object_groups = torch.arange(objects, device=device) // max(1, objects // num_groups)
        return self.weight * (query_groups[:, None] != object_groups).float()
