"""Expressions and questions about scenes in words, to pretrain the embedded default's small language model on."""

from __future__ import annotations

import numpy as np
from torch.utils.data import Dataset

from mmdet.registry import DATASETS
from mmvisionllm.instructions import Instruction, load_templates

from .described_objects import described_objects
from .language import caption, describe, empty_expression, questions, referring_expressions
from .scene import Scene, random_scene
from .scene_text import SceneText, SceneTextDataset, random_boxes, sample_rng
from .shapes import CATEGORIES

MAX_OBJECTS = 8


@DATASETS.register_module()
class SceneExpressionDataset(Dataset):
    """Supply of scenes whose objects are words, with expressions that mean some of them.

    Objects are described in full ("small striped red star") and stand at their boxes; the category set holds one
    expression, as a grounding instruction does, or several. An object is answered by the expression that means it, or by
    ``<none>``. Beside it, each sample has an instruction for polygons, for its format to be read, and questions and a
    caption to be answered with. Sample ``i`` depends on the seed and ``i`` alone.

    Args:
        length: Number of samples.
        seed: Seed of everything random.
        num_bins: Location bins of the model.
        single: Share of samples with a single expression.
        empty: Share of samples that have an expression which means nothing.
        num_points: Range of the polygons' number of points.
        num_questions: Most questions about a scene, asked one after another.
        questioned: Share of scenes that are asked about.
        captioned: Share of scenes that get a caption.
        lookups: Share of samples that are of a :class:`SceneTextDataset` instead, categories to look up.
        described: Share of the other samples whose objects are drawn freely, see :func:`described_objects`.
        num_objects: Objects of each of those two.
        noise: Factor of the noise on descriptions: the mean of four words is half as long as a word.
        num_easy: The first samples, whose scenes have one object, then up to two, and so on: what is asked about is
            read off the only object before it is found among several.
    """

    def __init__(
        self,
        length: int = 100_000,
        seed: int = 0,
        num_bins: int = 1025,
        single: float = 0.5,
        empty: float = 0.2,
        num_points: tuple[int, int] = (8, 24),
        num_questions: int = 7,
        questioned: float = 0.5,
        captioned: float = 0.25,
        lookups: float = 0.0,
        described: float = 0.0,
        num_objects: int = 16,
        noise: float = 0.2,
        num_easy: int = 0,
    ) -> None:
        self.metainfo = dict(classes=CATEGORIES)
        self.length = length
        self.seed = seed
        self.num_bins = num_bins
        self.single = single
        self.empty = empty
        self.num_points = num_points
        self.num_questions = num_questions
        self.questioned = questioned
        self.captioned = captioned
        self.lookups = lookups
        self.described = described
        self.num_objects = num_objects
        self.noise = noise
        self.num_easy = num_easy
        self.names = SceneTextDataset(length, seed, num_bins, num_objects)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, SceneText]:
        rng = sample_rng(self.seed, index)
        if rng.random() < self.lookups:
            return self.names[index]
        if rng.random() < self.described:
            return dict(sample=self._described(rng))
        most = MAX_OBJECTS
        if index < self.num_easy:
            most = 1 + index * (MAX_OBJECTS - 1) // self.num_easy
        found = []
        while not found:  # a scene may have nothing to say about
            scene = random_scene(rng, max_objects=most)
            found = referring_expressions(scene, rng)
        nothing = empty_expression(scene, rng) if rng.random() < self.empty else None
        if rng.random() < self.single:
            found = [nothing or found[rng.integers(len(found))]]
        elif nothing:
            found.append(nothing)
        found = [found[i] for i in rng.permutation(len(found))]
        # Several expressions are a category set as any other.
        task = 'grounding' if len(found) == 1 else 'detection'
        instruction = self._instruct(rng, task, [e.text for e in found])
        categories = rng.permutation(CATEGORIES)[: rng.integers(1, len(CATEGORIES) + 1)]
        low, high = self.num_points
        polygons = self._instruct(rng, 'segmentation', categories.tolist(), int(rng.integers(low, high + 1)))
        meaning = {e.index: c for c, e in enumerate(found)}
        boxes = np.array([obj.box for obj in scene.objects], np.float32) / scene.image_size
        corners = boxes[:, :2], boxes[:, 2:]
        sample = SceneText(
            instruction,
            tuple(describe(obj) for obj in scene.objects),
            np.concatenate([(corners[0] + corners[1]) / 2, corners[1] - corners[0]], 1),
            tuple(meaning.get(i, -1) for i in range(len(scene.objects))),
            formats=(instruction, polygons),
            answers=self._answers(scene, rng),
            noise=self.noise,
        )
        return dict(sample=sample)

    def _described(self, rng: np.random.Generator) -> SceneText:
        expressions, names, classes = described_objects(rng, self.num_objects)
        task = 'grounding' if len(expressions) == 1 else 'detection'
        instruction = self._instruct(rng, task, expressions)
        boxes = random_boxes(rng, self.num_objects)
        return SceneText(instruction, tuple(names), boxes, tuple(classes), formats=(instruction,), noise=self.noise)

    def _answers(self, scene: Scene, rng: np.random.Generator) -> tuple[tuple[Instruction, tuple[str, ...]], ...]:
        found = []
        asked = questions(scene, rng)[: self.num_questions]
        if asked and rng.random() < self.questioned:
            (question, *turns) = (turn for pair in asked for turn in pair)
            found.append((self._instruct(rng, 'vqa', question=question), tuple(turns)))
        if rng.random() < self.captioned:
            found.append((self._instruct(rng, 'captioning'), (caption(scene, rng),)))
        return tuple(found)

    def _instruct(
        self,
        rng: np.random.Generator,
        task: str,
        categories: list[str] | None = None,
        num_points: int | None = None,
        question: str | None = None,
    ) -> Instruction:
        templates = load_templates(task)
        return Instruction.from_text(
            templates[rng.integers(len(templates))],
            categories=categories,
            task=task,
            num_points=num_points,
            num_bins=self.num_bins,
            question=question,
        )
