"""Teach a small language model, on text alone, what a pretrained one brings along.

The paper's LLM is pretrained on text; a decoder trained from scratch on images learns boxes but never to look a
category's name up in the instruction. Here words play the image tokens: the word embedding of an object's category plus
noise, at the place of its box. From them and an instruction the decoder answers as it will from images. Next-token
prediction on captions, questions, expressions and formats goes along.

It goes from easy to hard: until a share of the names is looked up right, objects have the less noise the fewer of them
are, stand not in the prefix, and none is to be answered by ``<none>``; nothing else is learned meanwhile. After that,
objects may resemble several names, as a detector's do, and the prefix may hold tokens that show nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce
from mmengine.model import BaseModel
from torch import Tensor

from mmdet.registry import MODELS
from mmdet.utils import ConfigType
from mmvisionllm.models.heads.text_decoding import text_loss

from .scene_text import SceneText


@MODELS.register_module()
class LanguagePretraining(BaseModel):
    """Pretrain an :class:`OpenEndedDecoder`.

    Its checkpoint initializes a detector's decoder by
    ``bbox_head=dict(init_cfg=dict(type='Pretrained', checkpoint=..., prefix='bbox_head'))``.

    Args:
        bbox_head: The decoder's config, the same as in the detector.
        lookup_accuracy: Nothing but looking names up is trained, and that from easy to hard, until this share of them is
            right (a running mean). With the other losses beside it, none was after 150 iterations.
        noise: Standard deviation of the noise in units of the word embeddings' own.
        confusion: Most that other names together have in an object, in units of a name, each by a random share: what a
            detector sees is never one class alone.
        num_background: Tokens of the prefix that show nothing: random mixtures of all names.
        location_jitter: Standard deviation of the boxes that the decoder is told of around the true ones, in box sizes.
        text_weight: Weight of next-token prediction.
        text_samples: Samples of a batch whose texts are learned; all of them would cost as much as the boxes.
        with_points: Learn boxes beside classes, once names are looked up.
        with_sets: Learn sets of objects; without, texts and answers alone. Beside the losses of sets, an optimizer's
            steps are too short for answers to be learned in tens of thousands of them; what is learned before stays.
    """

    def __init__(
        self,
        bbox_head: ConfigType,
        lookup_accuracy: float = 0.95,
        noise: float = 1.0,
        confusion: float = 0.0,
        num_background: int = 0,
        location_jitter: float = 0.05,
        text_weight: float = 1.0,
        text_samples: int = 4,
        with_points: bool = True,
        with_sets: bool = True,
    ) -> None:
        super().__init__()
        self.bbox_head = MODELS.build(bbox_head)
        self.lookup_accuracy = lookup_accuracy
        self.noise = noise
        self.confusion = confusion
        self.num_background = num_background
        # Buffers, so that a resumed run goes on where it stopped.
        self.register_buffer('accuracy', torch.zeros(()))
        self.register_buffer('can_look_up', torch.tensor(lookup_accuracy <= 0))
        self.location_jitter = location_jitter
        self.text_weight = text_weight
        self.text_samples = text_samples
        self.with_points = with_points
        self.with_sets = with_sets

    def forward(self, sample: Sequence[SceneText], mode: str = 'loss') -> dict[str, Tensor]:
        """Losses, and the share of names that are looked up right (``acc``).

        Raises:
            ValueError: for a mode other than ``'loss'``.
        """
        if mode != 'loss':
            raise ValueError(f"LanguagePretraining has only mode 'loss', got {mode!r}")
        objects, locations, classes, corners, present = self.image_tokens(sample)
        if not self.with_sets:
            return self._text_losses(sample, objects)
        instructions = [s.instruction for s in sample]
        with_points = self.with_points and bool(self.can_look_up)
        # From easy to hard: objects stand in the prefix, and <none> is an answer, once names are looked up.
        image = None
        if self.can_look_up:
            image = torch.cat([objects, self._background(sample)], 1)
        else:
            present = present & (classes >= 0)
        queries, point_mask = self.bbox_head.format_queries(self.bbox_head.language_model, instructions)
        if not with_points:
            queries, point_mask = queries[:, :, :1], point_mask[:, :0]
        decoded = self.bbox_head.decode(image, objects, locations, instructions, queries, point_mask)
        points = corners.unflatten(-1, (2, 2))[:, :, : point_mask.size(1)]
        losses = self.bbox_head.criterion(decoded, classes, points, present)
        if self.can_look_up:
            losses.update(self._text_losses(sample, objects))
        return {**losses, **self._accuracies(decoded.class_logits, classes, present)}

    @torch.no_grad()
    def _accuracies(self, class_logits: Tensor, classes: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Shares of right answers in percent, over all processes, which so go on to the next step together."""
        answers, asked = class_logits.argmax(-1), present & (classes >= 0)
        targets = classes.where(asked, class_logits.size(-1) - 1)  # <none> included
        right = torch.stack([(answers == classes)[asked].sum(), (answers == targets)[present].sum()])
        counts = torch.stack([right, torch.stack([asked.sum(), present.sum()])]).float()
        all_reduce(counts)
        acc, acc_all = counts[0] / counts[1].clamp(min=1)
        if counts[1, 0] > 0:
            self.accuracy += 0.1 * (acc - self.accuracy)
        self.can_look_up |= self.accuracy >= self.lookup_accuracy
        return dict(acc=100 * acc, acc_all=100 * acc_all)

    @staticmethod
    def _names(sample: Sequence[SceneText]) -> list[str]:
        return sorted({name for s in sample for name in s.names})

    def _background(self, sample: Sequence[SceneText]) -> Tensor:
        """(B, num_background, D) tokens that show nothing."""
        words = self.bbox_head.language_model.name_embeddings(self._names(sample))
        shape = len(sample), self.num_background
        content = torch.randn(*shape, len(words), device=words.device) @ words
        boxes = torch.rand(*shape, 4, device=words.device)
        return self.bbox_head.projector.place(content, boxes[..., : self.bbox_head.num_coordinates])

    def _text_losses(self, sample: Sequence[SceneText], objects: Tensor) -> dict[str, Tensor]:
        """Next-token losses of texts alone, of answers to what the objects show, and of formats.

        What one process has, all of them compute: they wait for one another.
        """
        model = self.bbox_head.language_model
        texts = [text for s in sample[: self.text_samples] for text in s.texts]
        answers = [(i, *answer) for i, s in enumerate(sample) for answer in s.answers]
        formats = [instruction for s in sample for instruction in s.formats] if self.with_sets else []
        wanted = torch.tensor([len(texts), len(answers), len(formats)], device=objects.device)
        all_reduce(wanted)
        losses = {}
        if wanted[0]:
            losses['loss_text'] = model.text_loss(texts) * self.text_weight
        if wanted[1]:
            owners, instructions, turns = zip(*answers) if answers else ((), (), ())
            loss = text_loss(model, objects[list(owners)], instructions, turns)
            losses['loss_answer'] = loss * self.text_weight
        if wanted[2]:
            losses.update(self.bbox_head.format_loss(formats))
        return losses

    def image_tokens(self, sample: Sequence[SceneText]) -> tuple[Tensor, ...]:
        """Words as image tokens.

        Returns:
            (B, M, D), locations (B, M, 2), classes (B, M), corners (B, M, 4), present (B, M).
        """
        model = self.bbox_head.language_model
        device = model.added.input.device
        most = max(1, *(len(s.names) for s in sample))
        vocabulary = self._names(sample)
        words = model.name_embeddings(vocabulary)
        shape = (len(sample), most)
        tokens = words.new_zeros(*shape, words.size(-1))
        boxes = torch.full((*shape, 4), 0.5, device=device)
        classes = torch.full(shape, -1, device=device)
        present = torch.zeros(shape, dtype=torch.bool, device=device)
        for i, s in enumerate(sample):
            n = len(s.names)
            tokens[i, :n] = words[[vocabulary.index(name) for name in s.names]]
            boxes[i, :n] = torch.from_numpy(s.boxes).to(device)
            classes[i, :n] = torch.tensor(s.classes, device=device)
            present[i, :n] = True
        center, extent = boxes[..., :2], boxes[..., 2:]
        jitter = torch.randn_like(boxes) * self.location_jitter
        locations, extents = center + jitter[..., :2] * extent, extent * jitter[..., 2:].exp()
        loud = torch.tensor([s.noise for s in sample], device=device)[:, None, None]
        noise = torch.randn_like(tokens) * model.added.std * self.noise * loud
        if not self.can_look_up:
            noise = noise * (self.accuracy / self.lookup_accuracy)
        elif self.confusion:
            easy = torch.rand(*shape, 2, 1, device=device)
            # Of however many names a batch has: descriptions are ten times as many as categories.
            others = torch.randn(*shape, len(words), device=device) @ words / len(words) ** 0.5
            noise = noise * easy[:, :, 0] + others * easy[:, :, 1] * self.confusion * loud
        corners = torch.cat([center - extent / 2, center + extent / 2], -1)
        places = torch.cat([locations, extents], -1)[..., : self.bbox_head.num_coordinates]
        objects = self.bbox_head.projector.place(tokens + noise, places)
        return objects, locations, classes, corners, present
