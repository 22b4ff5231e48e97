"""What goes beyond the paper and was measured to pay; importing this registers it with mmdet."""

from .box_criterion import BoxCriterion

__all__ = ['BoxCriterion']
