"""Image tokenizers."""

from .image_token_head import ImageTokenHead
from .language_guided_tokenizer import LanguageGuidedTokenizer

__all__ = ['ImageTokenHead', 'LanguageGuidedTokenizer']
