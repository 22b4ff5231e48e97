"""How many objects a dataset holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .checked_coco import CheckedCocoDataset

SIZES = {'small': 32**2, 'medium': 96**2, 'large': float('inf')}
"""Areas in pixels up to which an object is called so, as in COCO."""


@dataclass
class ObjectCounts:
    """Objects of a dataset, crowds apart.

    Args:
        sizes: By class and size.
        per_image: Of each image.
        crowds: Annotations that are crowds.
    """

    sizes: Counter[tuple[str, str]] = field(default_factory=Counter)
    per_image: list[int] = field(default_factory=list)
    crowds: int = 0

    def of(self, name: str) -> int:
        """Objects of a class."""
        return sum(self.sizes[name, size] for size in SIZES)

    def over(self, limit: int) -> int:
        """Images with more objects than that."""
        return sum(number > limit for number in self.per_image)


def count_objects(dataset: CheckedCocoDataset) -> ObjectCounts:
    """Count the objects that a dataset gives, without loading its images."""
    names = dataset.metainfo['classes']  # a deep copy each time
    counts = ObjectCounts()
    for index in range(len(dataset)):
        instances = dataset.get_data_info(index)['instances']
        own = [x for x in instances if not x['ignore_flag']]
        counts.crowds += len(instances) - len(own)
        counts.per_image.append(len(own))
        for x in own:
            x1, y1, x2, y2 = x['bbox']
            size = next(size for size, area in SIZES.items() if (x2 - x1) * (y2 - y1) < area)
            counts.sizes[names[x['bbox_label']], size] += 1
    return counts
