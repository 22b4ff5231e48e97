# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Import-time check for the packages that pip cannot be asked to install.

mmengine, mmcv and mmdet each come as two distributions with one import name: OpenMMLab's originals
and their maintained continuations ``onedl-*``. Requiring either name would make pip install it over
its twin, so ``setup.py`` requires neither, and this module says what is missing.
"""

import importlib
import importlib.metadata
from collections.abc import Sequence

# Import name -> (maintained distribution, OpenMMLab's original).
TWIN_DISTRIBUTIONS: dict[str, tuple[str, str]] = {
    'mmengine': ('onedl-mmengine', 'mmengine'),
    'mmcv': ('onedl-mmcv', 'mmcv'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
}

# In the order in which they need one another, so that the first failure is the cause.
REQUIRED_MODULES: tuple[str, ...] = ('torch', 'mmengine', 'mmcv', 'mmcv.ops', 'mmdet', 'transformers')

INSTALL_HELP = """\
Install torch first (mmcv compiles its operators against the torch it finds), then one of the two
families, never both:

  the maintained continuations (what mmvisionllm is tested on)
    pip install "torch>=2.4"
    pip install "setuptools>=80" wheel ninja psutil
    pip install onedl-mmengine
    pip install --no-build-isolation onedl-mmcv
    pip install onedl-mmdetection imaug onedl-mim

  or the OpenMMLab originals
    pip install "torch>=2.4"
    pip install "setuptools<81" wheel ninja psutil
    pip install mmengine==0.10.7
    pip install --no-build-isolation mmcv==2.1.0
    pip install mmdet==3.3.0 openmim

and for the language models
    pip install "transformers>=4.56" "peft>=0.18"
"""


def _installed_twins() -> list[str]:
    """Import names whose two distributions are both installed, as they overwrite each other."""
    doubled = []
    for module, distributions in TWIN_DISTRIBUTIONS.items():
        try:
            for distribution in distributions:
                importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        doubled.append(module)
    return doubled


def _missing_message(module: str) -> str:
    """What to tell the user when ``module`` is not installed at all."""
    if module == 'mmcv.ops':
        return (
            'mmvisionllm needs mmcv with its compiled operators, but the mmcv that is '
            'installed has none (mmcv-lite, or a build with MMCV_WITH_OPS=0).'
        )
    names = ' or '.join(TWIN_DISTRIBUTIONS.get(module, (module,)))
    return f'mmvisionllm needs the module "{module}", which is not installed ({names}).'


def _broken_message(module: str, error: Exception) -> str:
    """What to tell the user when ``module`` is there but fails to import with ``error``."""
    message = (
        f'mmvisionllm needs the module "{module}"; it is installed but cannot be imported: '
        f'{type(error).__name__}: {error}'
    )
    if module == 'mmcv.ops':
        message += (
            '\nThe usual reason: mmcv was compiled against another torch than the one that '
            'is installed now. Build it again with --no-build-isolation --no-cache-dir.'
        )
    doubled = _installed_twins()
    if doubled:
        message += (
            '\nBoth distributions of ' + ', '.join(doubled) + ' are installed and have '
            'overwritten each other: uninstall both, then install one family.'
        )
    return message


def check_dependencies(modules: Sequence[str] = REQUIRED_MODULES) -> None:
    """Import ``modules`` and explain the first failure.

    Versions are not judged here: a newer release that works is never refused.

    Args:
        modules: Import names, those that others build upon first.

    Raises:
        ImportError: If a module is missing or cannot be imported; the message says which packages
            to install, and the original error is its cause.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # mmdet asserts mmcv's version: not only ImportErrors come
            missing = isinstance(error, ModuleNotFoundError) and (
                error.name == module or (module == 'mmcv.ops' and error.name == 'mmcv._ext')
            )
            message = _missing_message(module) if missing else _broken_message(module, error)
            raise ImportError(f'{message}\n\n{INSTALL_HELP}') from error
