# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""The embedded default with random weights, and rendered scenes as files."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmvisionllm.scenes import random_scene
from mmvisionllm.scenes.renderer import render

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / 'configs' / 'visionllm' / 'visionllm_tiny_scenes.py')


@pytest.fixture(scope='session')
def config() -> str:
    """Path of the embedded default."""
    return CONFIG


@pytest.fixture(scope='session')
def stage2_config() -> str:
    """Path of the config that is tested on several data sets."""
    return str(Path(CONFIG).with_name('visionllm_tiny_scenes_stage2.py'))


@pytest.fixture(scope='session')
def weights(tmp_path_factory) -> str:
    """A checkpoint as mmengine's hook writes it, of random weights."""
    return random_weights(CONFIG, tmp_path_factory.mktemp('weights') / 'random.pth')


@pytest.fixture(scope='session')
def stage2_weights(stage2_config, tmp_path_factory) -> str:
    """The same for the other config."""
    return random_weights(stage2_config, tmp_path_factory.mktemp('weights') / 'random.pth')


def random_weights(config: str, path: Path) -> str:
    cfg = Config.fromfile(config)
    torch.manual_seed(0)
    register_all_modules()
    model = MODELS.build(cfg.model)
    meta = dict(dataset_meta=dict(classes=cfg.categories), cfg=cfg.pretty_text)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return str(path)


@pytest.fixture(scope='session')
def scenes(tmp_path_factory) -> Path:
    """Folder with two scenes, ``0.png`` and ``1.png``, of 128 x 128 pixels."""
    folder = tmp_path_factory.mktemp('scenes')
    for seed in range(2):
        scene = random_scene(np.random.default_rng(seed), 128)
        cv2.imwrite(str(folder / f'{seed}.png'), render(scene)[..., ::-1])
    return folder


@pytest.fixture
def drawn_texts(monkeypatch):
    """Function that makes an inferencer's visualizer keep a list of the texts it draws."""

    def record(inferencer) -> list[str]:
        texts, draw = [], inferencer.visualizer.draw_texts

        def draw_and_record(text, *args, **kwargs):
            texts.append(text)
            return draw(text, *args, **kwargs)

        monkeypatch.setattr(inferencer.visualizer, 'draw_texts', draw_and_record)
        return texts

    return record
