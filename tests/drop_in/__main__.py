"""Write docs/drop_in.md."""

from . import render
from .rows import ROOT

(ROOT / 'docs/drop_in.md').write_text(render())
