"""Image tokenizers."""

from .deformable_detr_weights import DeformableDETRWeights
from .image_token_head import ImageTokenHead
from .language_guided_tokenizer import LanguageGuidedTokenizer

__all__ = ['DeformableDETRWeights', 'ImageTokenHead', 'LanguageGuidedTokenizer']
