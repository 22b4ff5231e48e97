"""Image tokenizers."""

from .deformable_detr_weights import DeformableDETRWeights
from .image_token_head import ImageTokenHead
from .language_guided_tokenizer import LanguageGuidedTokenizer
from .outline_head import OutlineHead
from .outline_refiner import OutlineRefiner

__all__ = ['DeformableDETRWeights', 'ImageTokenHead', 'LanguageGuidedTokenizer', 'OutlineHead', 'OutlineRefiner']
