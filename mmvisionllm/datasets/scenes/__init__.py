# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Rendered scenes: small labelled pictures of coloured shapes, made locally and reproducibly.

The modules here need numpy and OpenCV, never mmdet.

* :mod:`.palette`    named colours and textures
* :mod:`.shapes`     one outline per category
* :mod:`.scene`      a random layout (objects, boxes, visible masks) without colours on pixels
* :mod:`.renderer`   layout -> RGB image
* :mod:`.language`   layout -> captions, referring expressions, questions and answers
* :mod:`.coco_writer` layout -> COCO, RefExp and VQA v2 records
* :mod:`.generator`  everything above -> a data set on disk
"""

from .scene import Scene, SceneObject, random_scene
from .shapes import CATEGORIES

__all__ = ['CATEGORIES', 'Scene', 'SceneObject', 'random_scene']
