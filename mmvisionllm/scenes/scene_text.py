"""Text about scenes, to pretrain the embedded default's small language model on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from mmdet.registry import DATASETS
from mmvisionllm.datasets.category_names import category_names
from mmvisionllm.instructions import Instruction, load_templates

from .language import caption, questions, referring_expressions
from .scene import Scene, random_scene
from .shapes import CATEGORIES

EASY_CATEGORIES = 3


def sample_rng(seed: int, index: int) -> np.random.Generator:
    """The randomness of one sample of text, apart from that of the rendered images of the same seed."""
    # As a spawn key: as entropy, (seed, 1) would be (seed, 1, 0), which is the first validation image.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))


def random_boxes(rng: np.random.Generator, number: int) -> np.ndarray:
    """(number, 4) float32 boxes (cx, cy, w, h) inside of the image, normalized."""
    extents = np.exp(rng.uniform(np.log(0.05), np.log(0.9), (number, 2)))
    centers = extents / 2 + rng.random((number, 2)) * (1 - extents)
    return np.concatenate([centers, extents], 1).astype(np.float32)


@dataclass(frozen=True)
class SceneText:
    """A scene in words.

    Args:
        instruction: A detection instruction with a random template, category subset and order.
        names: Categories or descriptions of n objects, the words that stand for image tokens.
        boxes: (n, 4) their boxes (cx, cy, w, h), normalized.
        classes: Their n indices in the instruction's category set, -1 outside of it.
        texts: Captions, questions with answers, referring expressions and formats, for next-token prediction.
        formats: Instructions whose output formats are to be read.
        answers: Instructions that ask for texts, and the turns to answer by when the objects are looked at: an answer, or
            an answer, a further question, its answer, and so on.
        noise: Factor of the noise that is put on the words.
    """

    instruction: Instruction
    names: tuple[str, ...]
    boxes: np.ndarray
    classes: tuple[int, ...]
    texts: tuple[str, ...] = ()
    formats: tuple[Instruction, ...] = ()
    answers: tuple[tuple[Instruction, tuple[str, ...]], ...] = ()
    noise: float = 1.0


def scene_texts(scene: Scene, rng: np.random.Generator) -> tuple[str, ...]:
    """A caption, questions with answers, and a referring expression."""
    texts = [caption(scene, rng)]
    texts += [f'{question} {answer}' for question, answer in questions(scene, rng)[:2]]
    texts += [e.text for e in referring_expressions(scene, rng)[:1]]
    return tuple(texts)


@DATASETS.register_module()
class SceneTextDataset(Dataset):
    """Supply of scenes in words: sample ``i`` is a :class:`SceneText` that depends on the seed and ``i`` alone.

    Args:
        length: Number of samples.
        seed: Seed of everything random.
        num_bins: Location bins of the model.
        num_objects: Objects per sample.
        categories: Names to look up, or a data set, see :func:`category_names`. Defaults to the scenes'.
        max_categories: Largest category set of an instruction.
        num_easy: The first samples, whose category sets are of :data:`EASY_CATEGORIES` at most: looking names up is
            learned sooner among few.
    """

    def __init__(
        self,
        length: int = 100_000,
        seed: int = 0,
        num_bins: int = 1025,
        num_objects: int = 16,
        categories: Sequence[str] | str = CATEGORIES,
        max_categories: int = 20,
        num_easy: int = 0,
    ) -> None:
        self.categories = category_names(categories)
        self.metainfo = dict(classes=self.categories)
        self.max_categories = min(max_categories, len(self.categories))
        self.num_easy = num_easy
        self.length = length
        self.seed = seed
        self.num_bins = num_bins
        self.num_objects = num_objects

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, SceneText]:
        rng = sample_rng(self.seed, index)
        scene = random_scene(rng)
        templates = load_templates('detection')
        most = self.max_categories
        if index < self.num_easy:
            most = min(EASY_CATEGORIES, most)
        size = int(rng.integers(1, most + 1)) if rng.random() < 0.5 else most
        order = rng.permutation(len(self.categories))
        instruction = Instruction.from_text(
            templates[rng.integers(len(templates))],
            categories=[self.categories[i] for i in order[:size]],
            num_bins=self.num_bins,
        )
        texts = scene_texts(scene, rng)
        output_format = instruction.output_format
        texts += (f'{output_format.describe()} {"".join(output_format.queries)}',)
        # More objects than a scene holds, drawn freely: each is one more lookup for the same instruction.
        # They come from the largest set: where an instruction offers less, some are to be answered by <none>.
        names = tuple(self.categories[i] for i in rng.choice(order[:most], self.num_objects))
        boxes = random_boxes(rng, self.num_objects)
        columns = {name: c for c, name in enumerate(instruction.categories)}
        classes = tuple(columns.get(name, -1) for name in names)
        return dict(sample=SceneText(instruction, names, boxes, classes, texts))
