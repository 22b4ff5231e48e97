# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""mmdet's inferencer, steered by an instruction."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mmengine
import numpy as np
import PIL.Image
from mmengine.config import Config
from mmengine.dataset import Compose
from torch import nn

from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from mmdet.utils import ConfigType
from mmvisionllm.datasets import AttachInstruction
from mmvisionllm.datasets.transforms import every_transform
from mmvisionllm.instructions import (
    Instruction,
    InstructionError,
    OutputFormat,
    categories_of_prompt,
    load_templates,
    without_categories,
)
from mmvisionllm.models import VisionLLM
from mmvisionllm.models.structures import set_instruction
from mmvisionllm.utils.checkpoint import mmengine_reads_safely
from mmvisionllm.utils.required_weights import check_weights

from .image_loading import CheckedPipeline, images_in, output_names, read_image

Image = str | os.PathLike | np.ndarray | PIL.Image.Image


class VisionLLMInferencer(DetInferencer):
    """Detect what an instruction asks for::

        inferencer = VisionLLMInferencer('configs/visionllm/visionllm_tiny_scenes.py', 'iter_1000.pth')
        inferencer('a.png')                                    # the config's own instruction
        inferencer('a.png', categories=['star', 'heart'])      # the task's first template with these
        inferencer('a.png', instruction='Where in <image> are <class>?', categories=['star'])
        inferencer('a.png', instruction='Mark each {"red star": <c0>} in <image>')
        inferencer('a.png', instruction='Outline <class> in <image> by (c, x1, y1, ..., x14, y14)', categories=['star'])
        inferencer('a.png', task='grounding', categories=['the star left of the heart'])
        inferencer('a.png', task='captioning')
        inferencer('a.png', task='vqa', question='how many stars are there?')

    An instruction holds for the call it is given to, and for nothing else.

    Args:
        model: Path of a config, or the name of a model in this package's metafile, or a config.
        weights: Checkpoint. Without one the model keeps random weights.
        device: Defaults to what mmengine finds.
        scope: mmengine scope.
        palette: Colors of the drawing, see :class:`mmdet.apis.DetInferencer`.
        show_progress: Show a progress bar.

    Raises:
        TypeError: if the config's model is no VisionLLM.
        ValueError: if the checkpoint lacks trained weights of the model, or has them in other shapes.
        UnpicklingError: if it holds objects that could run code when they are read.
    """

    preprocess_kwargs: set = {'instructions', 'asked'}

    def __call__(
        self,
        inputs: Image | Sequence[Image],
        instruction: str | Instruction | None = None,
        categories: Sequence[str] | None = None,
        task: str | None = None,
        question: str | None = None,
        batch_size: int = 1,
        return_vis: bool = True,
        recursive: bool = False,
        texts: str | Sequence[str] | None = None,
        custom_entities: bool = False,
        **kwargs: Any,
    ) -> dict[str, list]:
        """Detect and draw.

        Args:
            inputs: Image, folder of images, or list of images. An image is a path or a URL of whatever Pillow or OpenCV
                can read, a Pillow image, or an array (H, W, 1, 3 or 4) in OpenCV's order (blue, green, red).
            instruction: A text with ``<image>`` in it, and with ``<class>`` or a mapping such as
                ``{"star": <c0>, "heart": <c1>}`` or ``categories`` beside it; see :meth:`Instruction.from_text`.
                Defaults to the task's first template if there are ``categories``, else to the config's own.
            categories: Names of what to find, or the expression of grounding.
            task: Name of the task. Defaults to what the instruction asks for: objects by boxes or polygons if it names
                categories or an output format, else a text.
            question: What to answer.
            batch_size: Images that go through the model together.
            return_vis: Draw, also if there is no ``out_dir``.
            recursive: Of a folder, the images in its folders, too.
            texts: Categories as mmdet's text prompt, for all images or one for each, see
                :func:`~mmvisionllm.instructions.categories_of_prompt`.
            custom_entities: As in mmdet: the prompt holds the names themselves, with ``' . '`` between them.
            kwargs: As in mmdet: ``out_dir``, ``pred_score_thr``, ``show``, ``draw_pred``, ``no_save_vis``,
                ``no_save_pred``, ``return_datasamples``, ``print_result``, ``wait_time``.

        Returns:
            ``predictions``, per image ``bboxes`` (x1, y1, x2, y2) in pixels of the image, ``scores``, ``labels``,
            ``label_names`` (one per box), ``instruction`` (the whole text), ``categories`` (its category set) and
            ``img_path`` (None for arrays). Labels are indices in ``categories``; for the config's own instruction
            they are the data set's.
            For polygons also ``masks`` (run-length encoded, as COCO has them). For texts, ``text`` instead of objects.
            ``visualization``, per image a picture (H, W, 3), red, green, blue.

        Raises:
            InstructionError, FormatError: if no model could follow the instruction.
            ImageReadError: if an image cannot be read.
            TypeError: for ``texts`` beside an instruction or categories.
            ValueError: for another number of texts than of images.

        Warns:
            UserWarning: for categories that were not in the training of a model whose language model knows no others.
        """
        asked = self.make_instruction(instruction, categories, task, question)
        if isinstance(inputs, (str, os.PathLike)) and os.path.isdir(inputs):
            inputs = images_in(os.fspath(inputs), recursive) or inputs
        inputs = self._inputs_to_list(inputs)
        instructions = [asked] * len(inputs)
        if texts is not None:
            if asked is not None:
                raise TypeError('texts=... name categories: leave out instruction, categories, task and question')
            instructions = self._prompted([texts] * len(inputs) if isinstance(texts, str) else texts, custom_entities)
            if len(instructions) != len(inputs):
                raise ValueError(f'{len(instructions)} texts for {len(inputs)} images: give one text, or one per image')
        names = zip(inputs, output_names(inputs))
        self._output_names = {image: name for image, name in names if isinstance(image, str)}
        return super().__call__(
            inputs,
            batch_size=batch_size,
            return_vis=return_vis,
            instructions=instructions,
            asked=categories[0] if task == 'grounding' and categories else question,
            **kwargs,
        )

    def make_instruction(
        self,
        instruction: str | Instruction | None = None,
        categories: Sequence[str] | None = None,
        task: str | None = None,
        question: str | None = None,
    ) -> Instruction | None:
        """The instruction of a call, see :meth:`__call__`; None for the config's own.

        Raises:
            InstructionError, FormatError: if no model could follow it.
        """
        if isinstance(instruction, Instruction):
            if categories is not None or question is not None:
                raise InstructionError(
                    'this instruction has its own categories and question; leave out categories=... and question=...'
                )
            return instruction
        if instruction is None and categories is None and task is None and question is None:
            return None
        task = task or infer_task(instruction, categories, question)
        instruction = load_templates(task)[0] if instruction is None else instruction
        num_bins = self.model.bbox_head.vocabulary.num_bins
        made = Instruction.from_text(instruction, categories, task=task, num_bins=num_bins, question=question)
        if task != 'grounding':
            self._warn_of_new_words(made.categories)
        return made

    def _prompted(self, texts: Sequence[str], custom_entities: bool) -> list[Instruction]:
        return [self.make_instruction(categories=categories_of_prompt(text, custom_entities)) for text in texts]

    def _warn_of_new_words(self, categories: Sequence[str]) -> None:
        """A language model that was not pretrained knows the words that it was trained on."""
        classes = (self.model.dataset_meta or {}).get('classes', categories)
        new = [name for name in categories if name not in classes]
        if new and self.model.bbox_head.language_model.pretrained is None:
            warnings.warn(
                f'{", ".join(map(repr, new[:10]))} were not among the classes of the training '
                f'({", ".join(classes[:10])}), and the language model was not pretrained on other text: what it answers '
                'to them, at whatever score, means nothing',
                stacklevel=4,
            )

    def preprocess(
        self,
        inputs: list,
        batch_size: int = 1,
        instructions: Sequence[Instruction | None] | None = None,
        asked: str | None = None,
        **kwargs: Any,
    ) -> Iterator[tuple]:
        """mmdet's batches, every sample with the call's instruction, and the expression or question to draw."""
        of_images = iter(instructions or [None] * len(inputs))
        for images, data in super().preprocess(inputs, batch_size, **kwargs):
            for sample, instruction in zip(data['data_samples'], of_images):
                if instruction is not None:
                    set_instruction(sample, instruction)
                if asked is not None:
                    sample.set_metainfo(dict(question=asked))
            yield images, data

    def visualize(
        self,
        inputs: Sequence[str | np.ndarray | PIL.Image.Image],
        preds: list[DetDataSample],
        return_vis: bool = False,
        no_save_vis: bool = False,
        img_out_dir: str = '',
        show: bool = False,
        **kwargs: Any,
    ) -> list[np.ndarray] | None:
        """Draw a batch, with the names of its instruction; arguments as in mmdet."""
        out_dir = '' if no_save_vis else img_out_dir
        if self.visualizer is None or not (show or out_dir or return_vis):
            return super().visualize(inputs, preds, return_vis, no_save_vis=no_save_vis, img_out_dir=out_dir, show=show)
        known = ('wait_time', 'draw_pred', 'pred_score_thr')
        options = {key: value for key, value in kwargs.items() if key in known}
        pictures = []
        for image, sample, instruction in zip(inputs, preds, self.model.instructions(preds)):
            name = self._output_name(image, self.num_visualized_imgs)
            file = os.path.join(out_dir, 'vis', name) if out_dir else None
            picture = read_image(image)[..., ::-1]
            with self._names_of(instruction):
                self.visualizer.add_datasample(name, picture, sample, draw_gt=False, show=show, out_file=file, **options)
            pictures.append(self.visualizer.get_image())
            self.num_visualized_imgs += 1
        return pictures

    def _output_name(self, image: str | np.ndarray | PIL.Image.Image, number: int) -> str:
        """A picture's file name, of a kind that OpenCV writes."""
        if not isinstance(image, str):
            return f'{number:08}.jpg'
        ending = os.path.splitext(image)[1]
        ending = ending if ending.lower() in ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff') else '.png'
        return self._output_names.get(image, Path(image).stem) + ending

    @contextmanager
    def _names_of(self, instruction: Instruction) -> Iterator[None]:
        """Lend the visualizer the instruction's names, and colors enough for them."""
        meta = self.visualizer.dataset_meta
        number = max(instruction.label_ids, default=-1) + 1
        names = [''] * number
        for label, name in zip(instruction.label_ids, instruction.categories):
            names[label] = name
        palette = meta.get('palette', 'random')
        if isinstance(palette, list) and len(palette) < number:
            palette = 'random'
        self.visualizer.dataset_meta = dict(meta, classes=tuple(names), palette=palette)
        try:
            yield
        finally:
            self.visualizer.dataset_meta = meta

    def pred2dict(self, data_sample: DetDataSample, pred_out_dir: str = '') -> dict[str, Any]:
        """mmdet's plain dict, with names and instruction; written to ``<pred_out_dir>/preds`` if that is given."""
        result = super().pred2dict(data_sample)
        instruction = self.model.instructions([data_sample])[0]
        img_path = data_sample.get('img_path')
        if 'pred_instances' in data_sample:
            result['label_names'] = list(data_sample.pred_instances.label_names)
        if 'pred_text' in data_sample:
            result['text'] = data_sample.pred_text
        result.update(categories=list(instruction.categories), instruction=instruction.text, img_path=img_path)
        if pred_out_dir:
            if img_path:
                name = self._output_names.get(img_path, Path(img_path).stem)
            else:
                name = str(self.num_predicted_imgs)
                self.num_predicted_imgs += 1
            mmengine.dump(result, os.path.join(pred_out_dir, 'preds', f'{name}.json'))
        return result

    def _inputs_to_list(self, inputs: Image | Sequence[Image]) -> list:
        """Like mmdet's, with path objects; a folder without images is refused."""
        if isinstance(inputs, os.PathLike):
            inputs = os.fspath(inputs)
        found = super()._inputs_to_list(inputs)
        if not found:
            where = f'in the folder {inputs}' if isinstance(inputs, str) else 'given'
            raise ValueError(f'no images {where}')
        return [os.fspath(x) if isinstance(x, os.PathLike) else x for x in found]

    def _init_pipeline(self, cfg: ConfigType) -> Compose:
        pipeline = CheckedPipeline(super()._init_pipeline(cfg))
        for transform in every_transform(pipeline):  # a dataset would tell them
            if isinstance(transform, AttachInstruction) and not transform.categories:
                transform.set_classes(self.model.dataset_meta['classes'])
        return pipeline

    def _init_model(self, cfg: ConfigType, weights: str | None, device: str = 'cpu') -> nn.Module:
        with mmengine_reads_safely():
            return super()._init_model(cfg, weights, device)

    def _load_weights_to_model(self, model: nn.Module, checkpoint: dict | None, cfg: ConfigType) -> None:
        if not isinstance(model, VisionLLM):
            raise TypeError(
                f'{type(self).__name__} needs a config whose model is a VisionLLM, got {type(model).__name__}; '
                'use DetInferencer of mmdet for others'
            )
        if checkpoint is not None:
            check_weights(model, checkpoint.get('state_dict', checkpoint))
        # mmdet looks for a pipeline and classes there; of a test set for several tasks, the first one's will do.
        while 'datasets' in cfg.test_dataloader.dataset:
            cfg.test_dataloader.dataset = cfg.test_dataloader.dataset.datasets[0]
        super()._load_weights_to_model(model, checkpoint, cfg)

    def _load_model_from_metafile(self, model: str) -> tuple[Config, str | None]:
        """Look a model up by name in this package's metafile (mmdet would search its own)."""
        root = self._get_repo_or_mim_dir('mmvisionllm')
        entries = {entry['Name']: entry for entry in self._get_models_from_metafile(root)}
        name = model.removesuffix('.py')
        # mim finds any config of the package by its basename, and so do we.
        for path in Path(root, 'configs').rglob('*.py'):
            if path.stem == name:
                return Config.fromfile(path), entries.get(name, {}).get('Weights')
        if name not in entries:
            known = ', '.join(sorted(entries))
            raise FileNotFoundError(f'{model} is neither a config file nor a model of mmvisionllm ({known})')
        config = os.path.join(root, entries[name]['Config'])
        return Config.fromfile(config), entries[name].get('Weights')


def infer_task(instruction: str | None, categories: Sequence[str] | None, question: str | None) -> str:
    """What a user's sentence asks for, by rule."""
    if question is not None:
        return 'vqa'
    if instruction is None:
        return 'detection'
    text = without_categories(instruction)
    output_format = OutputFormat.parse(text)
    if output_format.num_points > 2:
        return 'segmentation'
    if categories is not None or '<class>' in text or not output_format.is_text:
        return 'detection'
    return 'captioning'  # any request without a question of its own
