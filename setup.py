# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Packaging of mmvisionllm, with the ``.mim`` extension of an OpenMMLab package.

``mim`` runs a package's tools and finds its configs in ``<package>/.mim``. That folder is

* copied into what is built (wheel, ``pip install .``, sdist), never into the source tree;
* made of links in the source tree for an editable install.
"""

import os
import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
PACKAGE = 'mmvisionllm'
MIM_ENTRIES = ('tools', 'configs', 'model-index.yml')


def read_version() -> str:
    """Read ``__version__`` without importing the package (which needs torch and mmdet)."""
    scope: dict = {}
    exec((ROOT / PACKAGE / 'version.py').read_text(encoding='utf-8'), scope)
    return scope['__version__']


def read_readme() -> str:
    """The long description: README.md."""
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.exists() else ''


def read_requirements(name: str) -> list[str]:
    """Requirement lines of ``requirements/<name>.txt`` without comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    stripped = (line.partition('#')[0].strip() for line in lines)
    return [line for line in stripped if line]


def copy_mim(mim: Path) -> None:
    """Write a fresh ``.mim`` with everything below tools and configs, whatever its file type."""
    remove(mim)
    mim.mkdir(parents=True)
    for entry in MIM_ENTRIES:
        source = ROOT / entry
        if source.is_dir():
            ignore = shutil.ignore_patterns('__pycache__', '*.py[cod]', '.*')
            shutil.copytree(source, mim / entry, ignore=ignore)
        else:
            shutil.copy2(source, mim / entry)


def link_mim(mim: Path) -> None:
    """Make ``.mim`` of relative links, so that edits in the source tree are seen at once."""
    remove(mim)
    mim.mkdir(parents=True)
    for entry in MIM_ENTRIES:
        try:
            (mim / entry).symlink_to(os.path.relpath(ROOT / entry, mim))
        except OSError as error:  # Windows without developer mode
            print(f'warning: cannot link {entry} ({error}); mim will not find it', file=sys.stderr)


def remove(path: Path) -> None:
    """Remove a folder if it is there, a link without what it points to."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


class BuildPyWithMim(build_py):
    """Adds ``.mim`` to the package that is built, or links it for an editable install.

    The command is the place for it, not ``sys.argv``: PEP 660 installs never show ``develop``.
    """

    def run(self) -> None:
        """Build the package's modules and data, then its ``.mim``."""
        if self.editable_mode:
            super().run()
            link_mim(ROOT / PACKAGE / '.mim')
            return
        built = Path(self.build_lib) / PACKAGE
        # pip builds in the source tree and leaves build/ behind: a module or config that has been
        # renamed since would be installed under both names.
        if built.resolve() != ROOT / PACKAGE:
            remove(built)
        super().run()
        copy_mim(built / '.mim')


class BdistWheelWithMim(bdist_wheel):
    """Repeats ``.mim`` in the wheel's dist-info folder.

    onedl-mim takes the folder of the first file in an installed distribution's RECORD for the
    package. pip sorts that list, and ``mmvisionllm-<version>.dist-info/`` comes before
    ``mmvisionllm/``, so this is where it looks.
    """

    def write_wheelfile(self, wheelfile_base: str, *args: str, **kwargs: str) -> None:
        """Write the WHEEL file and, but for editable wheels, ``.mim`` beside it."""
        super().write_wheelfile(wheelfile_base, *args, **kwargs)
        if 'editable_wheel' not in self.distribution.command_obj:
            copy_mim(Path(wheelfile_base) / '.mim')


class SdistWithMim(sdist):
    """Adds ``.mim`` to the source distribution, beside the tools and configs it is made of."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Copy the listed files, then add ``.mim``."""
        super().make_release_tree(base_dir, files)
        copy_mim(Path(base_dir) / PACKAGE / '.mim')


if 'develop' in sys.argv:  # `python setup.py develop` of setuptools < 80 builds nothing
    link_mim(ROOT / PACKAGE / '.mim')

setup(
    name='mmvisionllm',
    version=read_version(),
    description='VisionLLM for MMDetection: an LLM decodes boxes and polygons as instructed',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    author='The mmvisionllm authors',
    keywords='object detection, instruction following, large language model, MMDetection',
    license='Apache-2.0',
    license_files=['LICENSE'],
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['**/*.yaml', '**/*.yml', '**/*.json', '**/*.safetensors']},
    python_requires='>=3.10',
    install_requires=read_requirements('runtime'),
    extras_require={name: read_requirements(name) for name in ('onedl', 'openmmlab', 'optional', 'tests', 'lint')},
    cmdclass={'build_py': BuildPyWithMim, 'bdist_wheel': BdistWheelWithMim, 'sdist': SdistWithMim},
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    zip_safe=False,
)
