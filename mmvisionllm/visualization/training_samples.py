"""Training samples as the model sees them, and a table of a dataset's objects."""

from __future__ import annotations

import cv2
import numpy as np

from mmdet.structures import DetDataSample
from mmvisionllm.datasets import CheckedCocoDataset
from mmvisionllm.datasets.object_counts import SIZES, count_objects

from .visualizer import write_below

_COLORS = ((230, 60, 50), (40, 120, 230), (20, 150, 60), (200, 120, 0), (150, 60, 200), (0, 160, 170), (220, 50, 140))
_GRAY = (150, 150, 150)


def draw_training_sample(image: np.ndarray, sample: DetDataSample, side: int = 480) -> np.ndarray:
    """Draw what a model is given and what it is to answer.

    Args:
        image: (H, W, 3), red, green, blue, as it goes into the network.
        sample: With ``gt_instances`` (``bboxes``, ``labels``, and ``points`` (n, N, 2) where polygons are asked for),
            ``instruction`` and, for texts, ``gt_turns``.
        side: Of small images, the longer side is enlarged to this.

    Returns:
        The picture, with the instruction and the answer's texts below. Objects that the instruction does not ask for,
        which are to be answered by ``<none>``, are gray.
    """
    factor = max(1, side // max(image.shape[:2]))
    picture = np.ascontiguousarray(np.kron(image, np.ones((factor, factor, 1), np.uint8)))
    instruction = sample.get('instruction')
    names = instruction.names if instruction is not None else {}
    objects = sample.get('gt_instances')
    if objects is not None and 'bboxes' in objects:
        boxes = np.asarray(getattr(objects.bboxes, 'tensor', objects.bboxes), float).reshape(-1, 2, 2)
        shapes = objects.points.numpy() if 'points' in objects else boxes
        for shape, label in zip(shapes * factor, objects.labels.tolist()):
            color = _COLORS[label % len(_COLORS)] if label in names else _GRAY
            corners = shape.round().astype(int)
            if len(corners) == 2:
                cv2.rectangle(picture, corners[0].tolist(), corners[1].tolist(), color, 2)
            else:
                cv2.polylines(picture, [corners], True, color, 2, cv2.LINE_AA)
                for x, y in corners.tolist():
                    cv2.circle(picture, (x, y), 3, color, -1)
            place = (int(corners[:, 0].min()) + 3, max(12, int(corners[:, 1].min()) - 4))
            cv2.putText(picture, names.get(label, 'none'), place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)
    lines = [(instruction.text, _GRAY)] if instruction is not None else []
    lines += [(turn, (0, 0, 0)) for turn in sample.get('gt_turns', ())]
    return write_below(picture, lines) if lines else picture


def describe_objects(dataset: CheckedCocoDataset, num_queries: int | None = None) -> str:
    """A table of a dataset's objects: per class and size, per image beside the image tokens, and what is left out."""
    names = dataset.metainfo['classes']
    counts = count_objects(dataset)
    numbers = counts.per_image
    lines = [str(dataset.report), f'{len(numbers)} images, {sum(numbers)} objects, {counts.crowds} crowds']
    lines.append(f'{"class":30} {"objects":>8} {"small":>8} {"medium":>8} {"large":>8}')
    for name in names:
        row = [counts.sizes[name, size] for size in SIZES]
        lines.append(f'{name:30.30} {sum(row):8} ' + ' '.join(f'{number:8}' for number in row))
    if numbers:
        middle, most = int(np.median(numbers)), max(numbers)
        against = '' if num_queries is None else f'; neck.num_queries is {num_queries}'
        lines.append(f'objects per image: median {middle}, at most {most}{against}')
        if num_queries is not None and most > num_queries:
            lines.append(
                f'{counts.over(num_queries)} images have more objects than there are image tokens: raise neck.num_queries'
            )
    return '\n'.join(lines)
