"""Models; importing this registers them with mmdet."""

from .backbones import InternImage
from .detectors import VisionLLM
from .heads import OpenEndedDecoder, SetCriterion
from .language_models import LanguageModel, TextEncoder
from .necks import ImageTokenHead, LanguageGuidedTokenizer
from .task_modules import CenterL1Cost

__all__ = [
    'CenterL1Cost',
    'ImageTokenHead',
    'InternImage',
    'LanguageGuidedTokenizer',
    'LanguageModel',
    'OpenEndedDecoder',
    'SetCriterion',
    'TextEncoder',
    'VisionLLM',
]
