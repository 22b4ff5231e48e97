"""What stands between the paper's form and ours, for :mod:`recipe_variants` and :mod:`stage2_variants`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mmdet.registry import MODELS
from mmvisionllm.extensions import BoxDecoder, OutlineQueries
from mmvisionllm.instructions import Instruction
from mmvisionllm.models.heads import OpenEndedDecoder
from mmvisionllm.models.heads.set_loss import expected_points
from mmvisionllm.models.language_models import LanguageModel
from mmvisionllm.models.structures import DecodedSet, ImageTokens


@MODELS.register_module()
class ExpectationDecoder(OpenEndedDecoder):
    """Reads coordinates off their bins as expectations."""

    def points(self, decoded: DecodedSet) -> Tensor:
        return expected_points(decoded, self.vocabulary.codec)


@MODELS.register_module()
class CenterDecoder(BoxDecoder):
    """Enters centers instead of boxes."""

    num_coordinates = 2

    def project(self, tokens: ImageTokens) -> Tensor:
        return OpenEndedDecoder.project(self, tokens)


@MODELS.register_module()
class NoFirstOutlineQueries(OutlineQueries):
    """Queries of polygons that hold no first outline, not even the ellipse in a box."""

    def forward(
        self, language_model: LanguageModel, instructions: Sequence[Instruction], *_: object
    ) -> tuple[Tensor, Tensor]:
        return super().forward(language_model, instructions)
