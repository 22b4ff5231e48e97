# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Rendered scenes: small labeled pictures of colored shapes, made locally and reproducibly.

* :mod:`.palette`    named colors and textures
* :mod:`.shapes`     one outline per category
* :mod:`.scene`      a random layout (objects, boxes, visible masks) without colors on pixels
* :mod:`.renderer`   layout -> RGB image
* :mod:`.language`   layout -> captions, referring expressions, questions and answers
* :mod:`.coco_writer` layout -> COCO, RefExp and VQA v2 records
* :mod:`.generator`  everything above -> a data set on disk
* :mod:`.scene_text`, :mod:`.scene_expressions`  layouts in words, for a language model
* :mod:`.language_pretraining`, :mod:`.outline_pretraining`  what a small language model learns from them

Importing this registers datasets and model with mmdet.
"""

from .language_pretraining import LanguagePretraining
from .outline_pretraining import OutlinePretraining
from .scene import Scene, SceneObject, random_scene
from .scene_expressions import SceneExpressionDataset
from .scene_text import SceneTextDataset
from .shapes import CATEGORIES

__all__ = [
    'CATEGORIES',
    'LanguagePretraining',
    'OutlinePretraining',
    'Scene',
    'SceneExpressionDataset',
    'SceneObject',
    'SceneTextDataset',
    'random_scene',
]
