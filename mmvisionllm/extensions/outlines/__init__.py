"""Polygons: first outlines by the tokenizer, moved to the image's edges, for the language model to start from."""

from .add_outlines import AddOutlines
from .outline_queries import OutlineQueries
from .outline_tokenizer import OutlineTokenizer

__all__ = ['AddOutlines', 'OutlineQueries', 'OutlineTokenizer']
