"""Unified language instructions: vocabulary, output formats and templates (no neural nets here)."""

from .formats import FormatError, OutputFormat
from .instruction import Instruction, InstructionError, parse_categories, without_categories
from .tasks import TASKS, Task, get_task
from .templates import load_templates
from .text_prompt import categories_of_prompt
from .vocabulary import CoordinateCodec, Vocabulary

__all__ = [
    'TASKS',
    'CoordinateCodec',
    'FormatError',
    'Instruction',
    'InstructionError',
    'OutputFormat',
    'Task',
    'Vocabulary',
    'categories_of_prompt',
    'get_task',
    'load_templates',
    'parse_categories',
    'without_categories',
]
