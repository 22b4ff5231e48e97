# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""A missing or broken OpenMMLab package is met with instructions on what to install."""

import subprocess
import sys

import pytest

from mmvisionllm._dependencies import check_dependencies


@pytest.mark.parametrize(
    'module, names', [('mmengine', ('onedl-mmengine', 'mmengine==')), ('mmdet', ('onedl-mmdetection', 'mmdet=='))]
)
def test_import_without_a_package_says_what_to_install(module, names):
    code = f'import sys; sys.modules[{module!r}] = None; import mmvisionllm'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 1
    message = done.stderr.partition('direct cause of the following exception')[2]
    assert f'ImportError: mmvisionllm needs the module "{module}", which is not inst' in message
    for name in (*names, '--no-build-isolation', 'torch'):
        assert name in message


def test_mmcv_without_operators(tmp_path, monkeypatch):
    """mmcv-lite has mmcv.ops, but not the compiled mmcv._ext."""
    monkeypatch.setitem(sys.modules, 'mmcv._ext', None)
    for name in [name for name in sys.modules if name.startswith('mmcv.ops')]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match='compiled operators') as caught:
        check_dependencies(['mmcv.ops'])
    assert '--no-build-isolation' in str(caught.value)


def test_a_broken_package_keeps_its_own_words(tmp_path, monkeypatch):
    """mmdet 3.3.0 asserts mmcv's version at import: its message must not be lost."""
    (tmp_path / 'broken_for_test.py').write_text("raise AssertionError('MMCV==9 is incompatible')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match='installed but cannot be imported') as caught:
        check_dependencies(['broken_for_test'])
    assert 'MMCV==9 is incompatible' in str(caught.value)
    assert isinstance(caught.value.__cause__, AssertionError)


def test_missing_dependency_of_a_package_is_not_taken_for_the_package(tmp_path, monkeypatch):
    (tmp_path / 'needy_for_test.py').write_text('import surely_not_installed')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="No module named 'surely_not_installed'"):
        check_dependencies(['needy_for_test'])
