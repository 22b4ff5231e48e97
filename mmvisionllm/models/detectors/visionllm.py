"""VisionLLM as an mmdet detector: backbone, language-guided tokenizer (neck), open-ended decoder (head)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmdet.models.data_preprocessors import BatchSyncRandomResize
from mmdet.models.detectors.base import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmvisionllm.instructions import Instruction, InstructionError, categories_of_prompt, get_task, load_templates
from mmvisionllm.utils.required_weights import require_checkpoints

from ..heads.set_reading import no_set
from ..language_models.building import quantized_weights_aside
from ..structures import ImageTokens, name_points, set_instruction


@MODELS.register_module()
class VisionLLM(BaseDetector):
    """`VisionLLM <https://arxiv.org/abs/2305.11175>`_.

    A sample's instruction is its ``instruction`` attribute: an :class:`~mmvisionllm.instructions.Instruction`, or a text
    with ``<image>`` in it. Of samples without one, ``text`` names the categories, mmdet's text prompt (see
    :func:`~mmvisionllm.instructions.categories_of_prompt`). The others get the detector's default: ``instruction``, or
    else the first template of detection with the classes of the checkpoint's data (``dataset_meta``).

    Args:
        backbone: Any mmdet backbone.
        neck: :class:`LanguageGuidedTokenizer`.
        bbox_head: :class:`OpenEndedDecoder`, which gets ``train_cfg`` and ``test_cfg``.
        instruction: Arguments of :meth:`Instruction.from_text` for the default instruction, or its text.
    """

    dataset_meta: dict | None = None  # of a checkpoint, as mmdet's init_detector sets it

    def __init__(
        self,
        backbone: ConfigType,
        neck: ConfigType,
        bbox_head: ConfigType,
        instruction: dict[str, Any] | str | None = None,
        data_preprocessor: OptConfigType = None,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        if not hasattr(self.neck, 'token_head'):
            raise TypeError(
                f'model.neck must be a LanguageGuidedTokenizer, got {type(self.neck).__name__}: other necks, one or '
                'a list, go into neck.channel_mapper'
            )
        own = {key: cfg for key, cfg in dict(train_cfg=train_cfg, test_cfg=test_cfg).items() if cfg is not None}
        self.bbox_head = MODELS.build({**bbox_head, **own})
        if self.bbox_head.num_coordinates == 4 and not self.neck.token_head.with_extent:
            raise ValueError(
                f'{type(self.bbox_head).__name__} enters tokens by their boxes, but token_head regresses centers alone: '
                "set neck.token_head.type='BoxTokenHead', or bbox_head.type='OpenEndedDecoder'"
            )
        self.default_instruction = self._from_text(instruction) if instruction else None

    def init_weights(self) -> None:
        """Initialize the parts; see :func:`quantized_weights_aside`.

        Raises:
            FileNotFoundError: if checkpoints that they start from are not there, see :func:`require_checkpoints`.
        """
        parts = {'': self, '.backbone': self.backbone, '.neck': self.neck, '.bbox_head': self.bbox_head}
        # A checkpoint of the whole detector takes the place of the backbone's own.
        if self.init_cfg:
            del parts['.backbone']
        require_checkpoints({f'model{name}.init_cfg': part.init_cfg for name, part in parts.items()})
        with quantized_weights_aside(self):
            super().init_weights()

    def instructions(self, batch_data_samples: SampleList) -> list[Instruction]:
        """The instruction of every sample, which is set where it has none.

        Raises:
            InstructionError: if a sample has none and the detector has no default.
        """
        if self.default_instruction is None and self.dataset_meta:
            self.default_instruction = self._detection(self.dataset_meta['classes'])
        found = [self._asked(sample) for sample in batch_data_samples]
        if any(instruction is None for instruction in found):
            raise InstructionError(
                'a sample has no instruction: add AttachInstruction to the pipeline of a CheckedCocoDataset, which tells '
                'it the classes (or give it categories=...), and if it stands before PackDetInputs, add meta_keys=(..., '
                "'instruction', 'gt_turns') to that; or set data_sample.instruction, or give the detector a default one "
                '(model.instruction)'
            )
        found = [i if isinstance(i, Instruction) else self._from_text(i) for i in found]
        for sample, instruction in zip(batch_data_samples, found):
            set_instruction(sample, instruction)
        return found

    def _asked(self, sample: DetDataSample) -> Instruction | str | None:
        if 'instruction' in sample:
            return sample.instruction
        if sample.get('text') is None:
            return self.default_instruction
        return self._detection(categories_of_prompt(sample.text, sample.get('custom_entities', False)))

    def _detection(self, categories: Sequence[str]) -> Instruction:
        return self._from_text(dict(text=load_templates('detection')[0], categories=categories))

    def _from_text(self, instruction: dict[str, Any] | str) -> Instruction:
        arguments = dict(text=instruction) if isinstance(instruction, str) else instruction
        return Instruction.from_text(**{'num_bins': self.bbox_head.vocabulary.num_bins, **arguments})

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> the backbone's feature maps, each (B, C, H_i, W_i).

        Raises:
            TypeError: if the images hold integers, or images or weights are not in float32, without autocast.
        """
        if not batch_inputs.is_floating_point():
            raise TypeError(
                f'images must be floating-point and normalized, got {batch_inputs.dtype}: pass the batch through '
                '`data_preprocessor` first'
            )
        weight = next(self.backbone.parameters(), batch_inputs)
        types = weight.dtype, batch_inputs.dtype
        if set(types) != {torch.float32} and not torch.is_autocast_enabled(batch_inputs.device.type):
            raise TypeError(
                f"the backbone's weights are {types[0]}, images {types[1]}: leave both in float32. For half precision "
                'take --amp, or torch.autocast around a test; the language model alone may be held in another type by '
                'language_model.torch_dtype'
            )
        return self.backbone(batch_inputs)

    def tokenize(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, instructions: list[Instruction]
    ) -> ImageTokens:
        """Images and instructions -> image tokens."""
        texts = [instruction.plain_text for instruction in instructions]
        return self.neck(self.extract_feat(batch_inputs), texts, batch_data_samples)

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """L = L_tok + L_dec (paper, 3.4), as a dict of their parts.

        Images whose instructions ask for objects and images whose instructions ask for texts may be mixed in a batch;
        distributed training wants all processes to have the same kinds in an iteration (:class:`TaskSampler`).

        Raises:
            InstructionError: if a sample lacks the text that its instruction asks for.
            ValueError: for polygons that a batch augmentation has not resized along with their image.
        """
        instructions = self.instructions(batch_data_samples)
        tokens = self.tokenize(batch_inputs, batch_data_samples, instructions)
        losses = self.bbox_head.format_loss(instructions)
        texts = [i for i, instruction in enumerate(instructions) if instruction.output_format.is_text]
        sets = [i for i in range(len(instructions)) if i not in texts]
        if sets:
            samples, asked = [batch_data_samples[i] for i in sets], [instructions[i] for i in sets]
            # All objects: what the instruction does not ask for is answered by <none>.
            objects, metas = [name_points(s.gt_instances) for s in samples], [s.metainfo for s in samples]
            augments = getattr(self.data_preprocessor, 'batch_augments', None) or ()
            resizes = any(isinstance(augment, BatchSyncRandomResize) for augment in augments)
            if resizes and any('points' in gt for gt in objects):
                raise ValueError(
                    'BatchSyncRandomResize resizes images and boxes, not polygons: take RandomChoiceResize in the '
                    'pipeline of the task that asks for polygons'
                )
            token_losses, matches, set_tokens = self.neck.loss(tokens.select(sets), objects, metas)
            losses.update(token_losses, **self.bbox_head.loss(set_tokens, asked, objects, matches, metas))
        if texts:
            turns = [self._turns(batch_data_samples[i]) for i in texts]
            asked = [instructions[i] for i in texts]
            losses.update(self.bbox_head.text_loss(tokens.select(texts), asked, turns))
        return losses

    @staticmethod
    def _turns(sample: DetDataSample) -> list[str]:
        turns = sample.get('gt_turns')
        if not turns:
            raise InstructionError(
                'an instruction asks for text, but the sample has none to learn from: add AttachInstruction to the '
                'pipeline behind a dataset with captions, answers or conversations (and before PackDetInputs, gt_turns '
                'to its meta_keys)'
            )
        return turns

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True) -> SampleList:
        """Add ``pred_instances`` (see :func:`read_set`) or texts to every sample.

        Texts are in ``pred_text``, and where the task's metrics look for them, such as ``pred_caption``.
        """
        instructions = self.bbox_head.parse_formats(self.instructions(batch_data_samples))
        tokens = self.tokenize(batch_inputs, batch_data_samples, instructions)
        texts = [i for i, instruction in enumerate(instructions) if instruction.output_format.is_text]
        sets = [i for i in range(len(instructions)) if i not in texts]
        if sets:
            metas, asked = [batch_data_samples[i].metainfo for i in sets], [instructions[i] for i in sets]
            for i, result in zip(sets, self.bbox_head.predict(tokens.select(sets), asked, metas, rescale)):
                batch_data_samples[i].pred_instances = result
        if texts:
            asked = [instructions[i] for i in texts]
            for i, text in zip(texts, self.bbox_head.generate(tokens.select(texts), asked)):
                batch_data_samples[i].pred_text = text
                if instructions[i].categories:  # metrics of objects find none
                    nothing = no_set(instructions[i], batch_data_samples[i].metainfo, tokens.locations)
                    batch_data_samples[i].pred_instances = nothing
                batch_data_samples[i].set_field(text, get_task(instructions[i].task).prediction)
        return batch_data_samples

    def _forward(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> tuple[Tensor, ...]:
        """Raw outputs (``mode='tensor'``), for instructions that ask for objects.

        Returns:
            Of the image tokens, ``embeddings`` (B, M, D), ``locations`` (B, M, 2) and ``objectness`` (B, M), see
            :class:`ImageTokens`; of the decoder, ``class_logits`` (B, M, C + 1) and ``point_logits``
            (B, M, N, 2, num_bins), see :class:`DecodedSet`.
        """
        instructions = self.instructions(batch_data_samples)
        tokens = self.tokenize(batch_inputs, batch_data_samples, instructions)
        decoded = self.bbox_head(tokens, instructions)
        return tokens.embeddings, tokens.locations, tokens.objectness, decoded.class_logits, decoded.point_logits
