"""Hooks."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .data_check_hook import DataCheckHook
from .exact_resume_hook import ExactResumeHook
from .matmul_precision_hook import MatmulPrecisionHook
from .merge_lora_hook import MergeLoRAHook
from .task_visualization_hook import TaskVisualizationHook
from .trained_weights_hook import TrainedWeightsHook
from .training_report_hook import TrainingReportHook

__all__ = [
    'AtomicCheckpointHook',
    'DataCheckHook',
    'ExactResumeHook',
    'MatmulPrecisionHook',
    'MergeLoRAHook',
    'TaskVisualizationHook',
    'TrainedWeightsHook',
    'TrainingReportHook',
]
