# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""The one place where the version number stands; ``setup.py`` reads it from here."""

__version__ = '0.1.0'
