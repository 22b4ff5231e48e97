"""The language model: tokenizer, added tokens, shared-prefix attention."""

from .language_model import LanguageModel
from .shared_prefix import Prefix, SharedPrefixLayout
from .text_encoder import TextEncoder
from .tokenizer import InstructionTokenizer

__all__ = ['InstructionTokenizer', 'LanguageModel', 'Prefix', 'SharedPrefixLayout', 'TextEncoder']
