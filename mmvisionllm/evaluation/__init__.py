"""Metrics that mmdet lacks; importing this registers them with mmdet."""

from .caption_metric import CaptionMetric
from .checked_coco_metric import CheckedCocoMetric
from .expression_metric import ExpressionMetric
from .refcoco_metric import RefCOCOMetric
from .task_evaluator import TaskEvaluator
from .vqa_metric import VQAMetric

__all__ = ['CaptionMetric', 'CheckedCocoMetric', 'ExpressionMetric', 'RefCOCOMetric', 'TaskEvaluator', 'VQAMetric']
