"""What goes beyond the paper and was measured to pay; importing this registers it with mmdet."""

from .box_criterion import BoxCriterion
from .box_decoder import BoxDecoder
from .box_token_head import BoxTokenHead
from .outlines import AddOutlines, OutlineQueries, OutlineTokenizer

__all__ = ['AddOutlines', 'BoxCriterion', 'BoxDecoder', 'BoxTokenHead', 'OutlineQueries', 'OutlineTokenizer']
