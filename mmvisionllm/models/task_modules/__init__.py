"""Parts of the matching that mmdet does not have."""

from .centre_l1_cost import CentreL1Cost

__all__ = ['CentreL1Cost']
