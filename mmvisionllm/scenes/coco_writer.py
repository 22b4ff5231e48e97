# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Layouts -> records in the formats of COCO, COCO Captions, RefExp and VQA v2."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .language import captions, empty_expression, question_answers, referring_expressions
from .scene import Scene
from .shapes import CATEGORIES

_IDS_PER_IMAGE = 100
_QUESTION_IDS_PER_IMAGE = 1000
_ANSWERS_PER_QUESTION = 10  # VQA v2 asks ten people
_CONTOUR_SCALE = 3

KINDS = ('instances', 'captions', 'refexp', 'vqa_questions', 'vqa_annotations')


def mask_to_polygons(mask: np.ndarray) -> list[list[float]]:
    """Exact polygons of a mask, along pixel edges.

    COCO's polygons cannot have holes, so a piece with a hole is cut in two through the hole.

    Args:
        mask: bool or uint8 (H, W).

    Returns:
        One flat list ``[x1, y1, x2, y2, ...]`` per piece, at least four points each; none for an
        empty mask.
    """
    # Contours run through pixel centers; on an enlarged mask they can be mapped to pixel edges.
    mask = np.ascontiguousarray(mask, dtype=np.uint8)
    x, y, w, h = cv2.boundingRect(mask)
    if not w:
        return []
    large = mask[y : y + h, x : x + w].repeat(_CONTOUR_SCALE, 0).repeat(_CONTOUR_SCALE, 1)
    contours, hierarchy = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    holes = [c for c, links in zip(contours, hierarchy[0]) if links[3] >= 0]
    if holes:
        column = x + int(holes[0][:, 0, 0].mean()) // _CONTOUR_SCALE
        left, right = mask.copy(), mask.copy()
        left[:, column:], right[:, :column] = 0, 0
        return mask_to_polygons(left) + mask_to_polygons(right)
    polygons = []
    for contour in contours:
        points = (contour[:, 0] + 1) // _CONTOUR_SCALE + (x, y)
        keep = np.any(points != np.roll(points, 1, 0), 1)
        polygons.append(points[keep].ravel().astype(float).tolist())
    return polygons


def categories() -> list[dict[str, Any]]:
    """COCO's ``categories``: ids from 1 in the order of :data:`CATEGORIES`."""
    return [dict(id=i, name=name, supercategory='shape') for i, name in enumerate(CATEGORIES, 1)]


class SplitRecords:
    """Collects the records of one split and writes its annotation files.

    Ids depend on the image only, so the records of an image are the same in a split of any length.
    """

    def __init__(self, split: str, seed: int) -> None:
        self.split = split
        self._info = dict(description='rendered scenes of mmvisionllm', version='1.0', split=split, seed=seed)
        self.images: list[dict[str, Any]] = []
        self._answers: dict[str, list[dict[str, Any]]] = {}
        self._records: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}

    def add(self, scene: Scene, image_id: int, file_name: str, rng: np.random.Generator) -> None:
        """Add a scene; ``rng`` draws what is said about it."""
        side = scene.image_size
        self.images.append(dict(id=image_id, file_name=file_name, width=side, height=side, license=1))
        self._add_instances(scene, image_id)
        first = image_id * _IDS_PER_IMAGE + 1
        for offset, text in enumerate(captions(scene, rng)):
            self._records['captions'].append(dict(id=first + offset, image_id=image_id, caption=text))
        self._add_expressions(scene, image_id, file_name, rng)
        self._add_questions(scene, image_id, rng)

    def _add_instances(self, scene: Scene, image_id: int) -> None:
        for index, obj in enumerate(scene.objects):
            x1, y1, x2, y2 = map(float, obj.box)
            self._records['instances'].append(
                dict(
                    id=image_id * _IDS_PER_IMAGE + index + 1,
                    image_id=image_id,
                    category_id=CATEGORIES.index(obj.category) + 1,
                    iscrowd=0,
                    area=float(obj.area),
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    segmentation=mask_to_polygons(scene.mask(index)),
                )
            )

    def _add_expressions(self, scene: Scene, image_id: int, file_name: str, rng: np.random.Generator) -> None:
        expressions = referring_expressions(scene, rng)
        if rng.random() < 0.3:
            missing = empty_expression(scene, rng)
            expressions += [missing] if missing else []
        for expression in expressions:
            empty = expression.index is None
            record = dict(
                image_id=image_id,
                file_name=file_name,
                expression=expression.text,
                bbox_xyxy=None,
                empty_case=empty,
                categories=dict(empty_case=empty, type=[expression.kind]),
            )
            if not empty:
                record['bbox_xyxy'] = list(map(float, scene.objects[expression.index].box))
                record['ann_id'] = image_id * _IDS_PER_IMAGE + expression.index + 1
            self._records['refexp'].append(record)

    def _add_questions(self, scene: Scene, image_id: int, rng: np.random.Generator) -> None:
        for number, qa in enumerate(question_answers(scene, rng)):
            ids = dict(question_id=image_id * _QUESTION_IDS_PER_IMAGE + number, image_id=image_id)
            self._records['vqa_questions'].append(dict(ids, question=qa.question))
            # One list per answer, shared: ten dicts for each question would fill the memory.
            if qa.answer not in self._answers:
                self._answers[qa.answer] = [
                    dict(answer=qa.answer, answer_confidence='yes', answer_id=i)
                    for i in range(1, _ANSWERS_PER_QUESTION + 1)
                ]
            self._records['vqa_annotations'].append(
                dict(
                    ids,
                    question_type=qa.question_type,
                    answer_type=qa.answer_type,
                    multiple_choice_answer=qa.answer,
                    answers=self._answers[qa.answer],
                )
            )

    def _document(self, kind: str) -> Any:
        records = self._records[kind]
        if kind == 'refexp':
            return records
        licence = dict(id=1, name='Apache-2.0', url='https://www.apache.org/licenses/LICENSE-2.0')
        if kind.startswith('vqa'):
            return dict(
                info=self._info,
                license=licence,
                data_type='mmvisionllm_scenes',
                data_subtype=self.split,
                task_type='Open-Ended',
                **{kind.removeprefix('vqa_'): records},
            )
        document = dict(info=self._info, licenses=[licence], images=self.images, annotations=records)
        return document | (dict(categories=categories()) if kind == 'instances' else {})

    def write(self, folder: Path) -> None:
        """Write ``{kind}_{split}.json`` for every kind of annotation."""
        for kind in KINDS:
            write_json(folder / f'{kind}_{self.split}.json', self._document(kind))


def write_json(path: Path, document: Any) -> None:
    """Write JSON whose bytes depend on the content alone; the file appears whole or not at all."""
    text = json.dumps(document, sort_keys=True, separators=(',', ':'), ensure_ascii=True)
    partial = path.with_name(path.name + '.partial')
    partial.write_text(text + '\n', encoding='ascii', newline='\n')
    os.replace(partial, path)
