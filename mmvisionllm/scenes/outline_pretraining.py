"""Teach a small language model, on text alone, where the points of a polygon are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce
from torch import Tensor

from mmdet.registry import MODELS
from mmvisionllm.extensions.outlines.descriptors import ellipse_descriptors, outline_waves
from mmvisionllm.extensions.outlines.first_points import first_points
from mmvisionllm.extensions.outlines.structures import OutlineTokens

from .language_pretraining import LanguagePretraining
from .scene_text import SceneText


@MODELS.register_module()
class OutlinePretraining(LanguagePretraining):
    """:class:`LanguagePretraining` with polygons: a decoder of :class:`OutlineQueries` is told random outlines, nearly
    right, and answers with the points of the right ones, of as many points as a sample's instruction asks for.

    A box is read off two corners, which text teaches all along. Of a polygon's queries nothing is known after that, and
    stage 2 learns them only at a rate at which names are forgotten (docs/measurements.md).

    Args:
        num_outlines: Outlines per sample: each is as long as ten boxes.
        outline_samples: Samples of a batch that have outlines.
        num_harmonics: Waves around an outline.
        outline_noise: Standard deviation of what is told of an outline around the true one, in units of its own waves.
        kwargs: See :class:`LanguagePretraining`.
    """

    def __init__(
        self,
        *args,
        num_outlines: int = 6,
        outline_samples: int = 4,
        num_harmonics: int = 16,
        outline_noise: float = 0.3,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.num_outlines = num_outlines
        self.outline_samples = outline_samples
        self.num_harmonics = num_harmonics
        self.outline_noise = outline_noise

    def forward(self, sample: Sequence[SceneText], mode: str = 'loss') -> dict[str, Tensor]:
        """See :class:`LanguagePretraining`; the losses on polygons are ``loss_outline_*``."""
        losses = super().forward(sample, mode)
        if self.can_look_up:
            losses.update(self._outline_losses(sample))
        return losses

    def _outline_losses(self, sample: Sequence[SceneText]) -> dict[str, Tensor]:
        asked = [i for s in sample for i in s.formats if i.output_format.num_points > 2][: self.outline_samples]
        # What one process has, all of them compute: they wait for one another.
        fewest = torch.tensor(len(asked), device=self.bbox_head.language_model.added.input.device)
        all_reduce(fewest, 'min')
        if not fewest:
            return {}
        head = self.bbox_head
        shape = len(asked), self.num_outlines
        device = fewest.device
        names = sorted({name for i in asked for name in i.categories})
        words = head.language_model.name_embeddings(names)
        classes = torch.stack([torch.randint(len(i.categories), shape[1:], device=device) for i in asked])
        which = [[names.index(i.categories[c]) for c in row] for i, row in zip(asked, classes.tolist())]
        content = words[torch.tensor(which, device=device)]
        content = content + torch.randn_like(content) * head.language_model.added.std * self.noise

        extents = 0.05 * 18 ** torch.rand(*shape, 2, device=device)
        locations = extents / 2 + torch.rand_like(extents) * (1 - extents)
        outlines = self._random_outlines(shape, device)
        points = first_points(asked, extents, outlines) + locations[:, :, None]

        jitter = torch.randn(2, *extents.shape, device=device) * self.location_jitter
        told_locations, told_extents = locations + jitter[0] * extents, extents * jitter[1].exp()
        loud = torch.rand(*shape, 1, 1, device=device) * self.outline_noise
        told = outlines + self._waves(shape, device) * loud
        places = torch.cat([told_locations, told_extents], -1)[..., : head.num_coordinates]
        objects = head.projector.place(content, places)
        tokens = OutlineTokens(objects, told_locations, objects.new_zeros(shape), extents=told_extents, outlines=told)
        queries, point_mask = head.format_queries(head.language_model, asked, tokens)
        decoded = head.decode(objects, objects, told_locations, asked, queries, point_mask)
        losses = head.criterion(decoded, classes, points, torch.ones(shape, dtype=torch.bool, device=device))
        return {key.replace('dec', 'outline'): value for key, value in losses.items()}

    def _waves(self, shape: tuple[int, int], device: torch.device) -> Tensor:
        """(*shape, 2, 1 + 2H) random waves, the shorter the weaker."""
        strength = 0.5 / torch.arange(1, self.num_harmonics + 1, device=device) ** 1.5
        waves = torch.randn(*shape, 2, 2 * self.num_harmonics, device=device) * strength.repeat(2)
        return torch.nn.functional.pad(waves, (1, 0))

    def _random_outlines(self, shape: tuple[int, int], device: torch.device) -> Tensor:
        """(*shape, 2, 1 + 2H) descriptors of outlines that fill their boxes."""
        outlines = ellipse_descriptors(self.num_harmonics, device) + self._waves(shape, device)
        around = outline_waves(torch.arange(64, device=device) / 64, self.num_harmonics)
        points = outlines @ around.T
        low, high = points.amin(-1), points.amax(-1)
        middle = torch.nn.functional.pad(((low + high) / 2)[..., None], (0, 2 * self.num_harmonics))
        return (outlines - middle) * (2 / (high - low))[..., None]
