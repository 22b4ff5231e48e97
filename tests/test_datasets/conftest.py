"""Writing small annotation files and building datasets of them."""

import json
from pathlib import Path

import pytest
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

import mmvisionllm  # noqa: F401  registers the datasets
from mmdet.registry import DATASETS


@pytest.fixture
def build(tmp_path):
    """Builds a dataset of a kind from a document, or from the text of a file."""

    def _build(kind, document, **kwargs):
        text = document if isinstance(document, str) else json.dumps(document)
        (tmp_path / 'data.json').write_text(text)
        cfg = dict(type=kind, ann_file='data.json', data_root=str(tmp_path), data_prefix=dict(img='images'), pipeline=[])
        return DATASETS.build(cfg | kwargs)

    return _build


@pytest.fixture
def load():
    """Runs the first sample of a data set on disk through a pipeline with boxes, and packs some keys."""

    def _load(kind, root, *keys, **kwargs):
        pipeline = [
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(64, 64)),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape', *keys)),
        ]
        init_default_scope('mmdet')  # as a Runner does
        cfg = dict(type=kind, data_root=str(root), pipeline=pipeline)
        return DATASETS.build(cfg | kwargs)

    return _load


@pytest.fixture
def log(caplog, request):
    """What mmengine's logger says, from here on."""
    MMLogger.get_instance(f'test-{Path(request.node.nodeid).name}').addHandler(caplog.handler)
    return caplog
