"""Decoders."""

from .open_ended_decoder import OpenEndedDecoder
from .set_criterion import SetCriterion

__all__ = ['OpenEndedDecoder', 'SetCriterion']
