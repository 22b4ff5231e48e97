"""Models; importing this registers them with mmdet."""

from .detectors import VisionLLM
from .heads import OpenEndedDecoder, SetCriterion
from .language_models import LanguageModel, TextEncoder
from .necks import ImageTokenHead, LanguageGuidedTokenizer
from .pretraining import LanguagePretraining

__all__ = [
    'ImageTokenHead',
    'LanguageGuidedTokenizer',
    'LanguageModel',
    'LanguagePretraining',
    'OpenEndedDecoder',
    'SetCriterion',
    'TextEncoder',
    'VisionLLM',
]
