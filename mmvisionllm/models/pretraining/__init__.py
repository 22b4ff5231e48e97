"""Pretraining of a language model that starts from random weights."""

from .language_pretraining import LanguagePretraining

__all__ = ['LanguagePretraining']
