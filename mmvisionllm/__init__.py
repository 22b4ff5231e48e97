# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""VisionLLM for MMDetection.

Importing this package registers every detector, neck, head, backbone, dataset, transform and hook
of it into mmdet's registries. A config therefore needs only::

    default_scope = 'mmdet'
    custom_imports = dict(imports=['mmvisionllm'])
"""

from ._dependencies import check_dependencies
from .version import __version__

# Before the subpackages, so that a missing OpenMMLab package is met by instructions on what to
# install and not by a bare ModuleNotFoundError from somewhere inside.
check_dependencies()

from . import datasets, engine, evaluation, extensions, models, scenes, visualization  # noqa: E402

__all__ = ['__version__', 'datasets', 'engine', 'evaluation', 'extensions', 'models', 'scenes', 'visualization']
