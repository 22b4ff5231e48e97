"""What goes beyond the paper and was measured to pay; importing this registers it with mmdet."""

from .boxes import BoxCriterion, BoxDecoder, BoxTokenHead
from .format_practice import PracticingFormatParser
from .outlines import AddOutlines, OutlineQueries, OutlineTokenizer

__all__ = [
    'AddOutlines',
    'BoxCriterion',
    'BoxDecoder',
    'BoxTokenHead',
    'OutlineQueries',
    'OutlineTokenizer',
    'PracticingFormatParser',
]
