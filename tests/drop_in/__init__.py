"""What an mmdet user has, and what becomes of it with VisionLLM: rows of docs/drop_in.md, each tried on a tiny model.

cd tests && python -m drop_in  # writes the page
"""

from .page import render
from .rows import ROWS, Tiny

__all__ = ['ROWS', 'Tiny', 'render']
