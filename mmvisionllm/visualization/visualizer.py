"""Pictures of predictions: boxes and masks as mmdet draws them, and words below the image."""

from __future__ import annotations

import copy

import cv2
import mmcv
import numpy as np
import torch

from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PAPER, _INK, _ANSWER = (255, 255, 255), (90, 90, 90), (0, 0, 0)


@VISUALIZERS.register_module()
class VisionLLMVisualizer(DetLocalVisualizer):
    """mmdet's visualizer, which also writes what was asked and what was answered below the image.

    That is the expression of grounding, the question, and the caption or answer; other instructions show in the labels of
    the objects. Annotations are drawn of what was asked for, by the instruction's names for it.
    """

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: DetDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        pred_score_thr: float = 0.3,
        step: int = 0,
    ) -> None:
        """Draw as mmdet does, see there, with the words of the sample below.

        Args:
            name: Name of the picture.
            image: (H, W, 3), red, green, blue.
            data_sample: With ``pred_instances``, or ``pred_text``, and ``instruction``.
            draw_gt: Also draw annotations, to the left, where there are any.
            draw_pred: Draw predictions.
            show: Show it in a window.
            wait_time: Seconds to show it for, 0 until a key is pressed.
            out_file: File to write.
            pred_score_thr: Objects that score less are left out.
            step: Step for the backends.
        """
        if isinstance(self.dataset_meta, (list, tuple)):  # of several data sets; labels come with the predictions
            self.dataset_meta = dict(self.dataset_meta[0])
        draw_gt = draw_gt and data_sample is not None and 'labels' in data_sample.get('gt_instances', ())
        if draw_gt:
            data_sample = with_asked_annotations(data_sample)
        lines = words_of(data_sample) if data_sample is not None and draw_pred else []
        if not lines:
            super().add_datasample(
                name, image, data_sample, draw_gt, draw_pred, show, wait_time, out_file, pred_score_thr, step
            )
            return
        # mmdet's would hand its picture to the backends.
        backends, self._vis_backends = self._vis_backends, {}
        try:
            super().add_datasample(name, image, data_sample, draw_gt, draw_pred, False, 0, None, pred_score_thr, step)
        finally:
            self._vis_backends = backends
        drawn = write_below(self.get_image(), lines)
        self.set_image(drawn)
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(drawn[..., ::-1], out_file)
        else:
            self.add_image(name, drawn, step)


def with_asked_annotations(data_sample: DetDataSample) -> DetDataSample:
    """The sample with those of its ``gt_instances`` that its instruction asks for, and ``label_names`` for them.

    In grounding, labels count what an expression may mean, and are no data set's.
    """
    asked = data_sample.get('instruction')
    if not getattr(asked, 'categories', ()):
        return data_sample
    names = asked.names
    labels = data_sample.gt_instances.labels.tolist()
    drawn = copy.copy(data_sample)  # what is handed on to metrics stays as it is
    # As a tensor: mmengine cannot index by an empty list, which an image without objects would give.
    kept = torch.tensor([label in names for label in labels], dtype=torch.bool)
    drawn.gt_instances = data_sample.gt_instances[kept]
    drawn.gt_instances.label_names = [names[label] for label in labels if label in names]
    return drawn


def words_of(data_sample: DetDataSample) -> list[tuple[str, tuple[int, int, int]]]:
    """What to write below an image: texts and their colors."""
    asked = data_sample.get('question') or data_sample.get('text')
    lines = [(str(asked), _INK)] if asked else []
    answer = data_sample.get('pred_text')
    return [*lines, (answer, _ANSWER)] if answer is not None else lines


def write_below(image: np.ndarray, lines: list[tuple[str, tuple[int, int, int]]]) -> np.ndarray:
    """Put a white strip with texts below an image (H, W, 3), wrapped to its width; OpenCV's font knows ASCII alone."""
    width = max(image.shape[1], 160)
    scale = max(0.4, width / 1200)
    thickness = max(1, round(scale * 1.5))
    (_, height), baseline = cv2.getTextSize('Ag', _FONT, scale, thickness)
    step, margin = height + baseline + 4, 6
    wrapped = [(part, color) for text, color in lines for part in wrap(text, width - 2 * margin, scale, thickness)]
    canvas = np.full((image.shape[0] + step * len(wrapped) + 2 * margin, width, 3), _PAPER, np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    for i, (part, color) in enumerate(wrapped):
        y = image.shape[0] + margin + height + i * step
        cv2.putText(canvas, part, (margin, y), _FONT, scale, color, thickness, cv2.LINE_AA)
    return canvas


def wrap(text: str, width: int, scale: float, thickness: int) -> list[str]:
    """Break a text into lines of at most ``width`` pixels, where a single word does not exceed it."""
    lines, line = [], ''
    for word in text.split():
        longer = f'{line} {word}'.strip()
        if line and cv2.getTextSize(longer, _FONT, scale, thickness)[0][0] > width:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]
