"""Parts of the matching that mmdet does not have."""

from .center_l1_cost import CenterL1Cost

__all__ = ['CenterL1Cost']
