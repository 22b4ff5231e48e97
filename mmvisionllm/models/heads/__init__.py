"""Decoders."""

from .open_ended_decoder import OpenEndedDecoder
from .set_loss import SetCriterion

__all__ = ['OpenEndedDecoder', 'SetCriterion']
