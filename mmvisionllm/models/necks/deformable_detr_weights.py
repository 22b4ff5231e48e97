"""Start a VisionLLM from a released mmdet Deformable DETR (paper, 3.5: stage 1), or a relative of it.

Where each weight goes:

====================================  ===============================================================================
Deformable DETR                       VisionLLM
====================================  ===============================================================================
``backbone.*``                        ``backbone.*``
``neck.*`` (``ChannelMapper``)        ``neck.channel_mapper.*``
``encoder.*``, ``decoder.*``          ``neck.encoder.*``, ``neck.decoder.*``
``level_embed``                       ``neck.level_embed``
``reference_points_fc.*``             ``neck.reference_points_fc.*``
``query_embedding.weight``            ``neck.query_embedding.weight``: the first M of its (300) queries
``bbox_head.reg_branches.*``          ``neck.token_head.reg_branches.*``
``bbox_head.cls_branches.*``          ``neck.token_head.cls_branches.*``: objectness is the log-sum-exp of the classes;
                                      ``bbox_head.projector.linear``: of the last layer, their differences from the mean
====================================  ===============================================================================

The queries of Deformable DETR have no order, so the first M are as good as any other M. What the classes
differ in tells what an object is: by it, the projector begins with tokens that read as the names of the detector's
classes (:meth:`TokenProjector.start_from_classes`), which the checkpoint knows (``meta``). The language path
(``neck.text_encoder``, ``neck.fusions``), heads for outlines and the rest of the decoder (``bbox_head``) have no
counterpart and keep their own weights.

Of a two-stage Deformable DETR, a DINO or a DDQ DETR, which make their queries from proposals, the same parts are taken
but for the queries: ``query_embedding`` and ``reference_points_fc`` are new.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from mmengine.logging import print_log
from mmengine.model import update_init_info
from torch import Tensor, nn

from mmdet.registry import WEIGHT_INITIALIZERS
from mmvisionllm.utils.checkpoint import read_weights_and_classes

from .detr_kinds import WITH_PROPOSALS, kind_of, without_place
from .language_guided_tokenizer import LanguageGuidedTokenizer

_QUERIES = ('neck.query_embedding.', 'neck.reference_points_fc.')
_MOVED = {
    'backbone.': 'backbone.',
    'neck.': 'neck.channel_mapper.',
    'encoder.': 'neck.encoder.',
    'decoder.': 'neck.decoder.',
    'level_embed': 'neck.level_embed',
    'reference_points_fc.': 'neck.reference_points_fc.',
    'query_embedding.': 'neck.query_embedding.',
    'bbox_head.': 'neck.token_head.',
}


def convert_deformable_detr(state_dict: Mapping[str, Tensor], num_queries: int) -> dict[str, Tensor]:
    """Rename and cut the weights of a Deformable DETR, or of a detector that is built on it, for a VisionLLM.

    Args:
        state_dict: Weights of an mmdet 3 ``DeformableDETR`` (plain, with box refinement or of two stages), ``DINO`` or
            ``DDQDETR``, of any number of classes; names may begin with ``module.``.
        num_queries: M of the VisionLLM.

    Returns:
        The weights under VisionLLM's names; every one of a ``state_dict`` of learned queries has its place.

    Raises:
        ValueError: if it is another kind of detector, or has fewer than M learned queries.
    """
    state = {name.removeprefix('module.'): weight for name, weight in state_dict.items()}
    kind = kind_of(state)
    if kind in WITH_PROPOSALS:
        left = without_place(state)
        state = {name: weight for name, weight in state.items() if name not in left}
        print_log(
            f'from a {kind}: {len(state)} weights are taken; left, as it makes its queries from proposals: '
            f'{", ".join(sorted({name.rpartition(".")[0] for name in left}))}; new: {", ".join(_QUERIES)}',
            logger='current',
        )
    elif kind != 'Deformable DETR':
        found = f'this is a {kind}' if kind else 'this is no Deformable DETR of mmdet 3 (mmdet 2 had other names)'
        raise ValueError(
            f'{found}: VisionLLM starts from a Deformable DETR, with box refinement and two stages or without, a '
            'DINO or a DDQ DETR of the mmdet 3 model zoo'
        )
    else:
        available = state['query_embedding.weight'].size(0)
        if available < num_queries:
            raise ValueError(f'the Deformable DETR has {available} queries, the model wants num_queries={num_queries}')
        state['query_embedding.weight'] = state['query_embedding.weight'][:num_queries].clone()
    converted = {}
    for name, weight in state.items():
        prefix = next((p for p in _MOVED if name.startswith(p)), None)
        if prefix is None:
            raise ValueError(f'no part of a Deformable DETR: {name!r}')
        converted[_MOVED[prefix] + name[len(prefix) :]] = weight
    return converted


def has_box_refine(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether a Deformable DETR, converted or not, refines boxes: each layer then has its own regression branch."""
    branches: dict[str, list[Tensor]] = {}
    for name, weight in state_dict.items():
        layer_and_name = name.partition('_head.reg_branches.')[2]
        if layer_and_name:
            branches.setdefault(layer_and_name.partition('.')[2], []).append(weight)
    return any(not torch.equal(same[0], other) for same in branches.values() for other in same[1:])


@WEIGHT_INITIALIZERS.register_module()
class DeformableDETRWeights:
    """Initialize a :class:`VisionLLM` from a Deformable DETR, a DINO or a DDQ DETR.

    For use as the detector's own initialization::

        model = dict(init_cfg=dict(type='DeformableDETRWeights', checkpoint='deformable-detr_r50.pth'))

    mmengine runs a module's own ``init_cfg`` before its children's initialization, unless its type is ``Pretrained``.
    So that the checkpoint comes last all the same, neck and decoder are initialized here, first, and the backbone, which
    the checkpoint covers completely, not at all; all are marked as done.

    Args:
        checkpoint: See :func:`~mmvisionllm.utils.checkpoint.read_weights`.
        map_location: Device on which it is read.
        classes: What instructions call its classes, in their order; by default as the checkpoint does.
    """

    def __init__(self, checkpoint: str, map_location: str = 'cpu', classes: Sequence[str] | None = None) -> None:
        self.checkpoint = checkpoint
        self.map_location = map_location
        self.classes = classes

    def __call__(self, module: nn.Module) -> None:
        """Initialize ``module``.

        Raises:
            TypeError: if it is no VisionLLM with a Deformable DETR neck.
            ValueError: if the checkpoint does not fit: see :func:`convert_deformable_detr`; or one refines boxes and
                the other does not; or weights are missing, left over, or of another shape.
        """
        if not isinstance(getattr(module, 'neck', None), LanguageGuidedTokenizer):
            raise TypeError(
                f'DeformableDETRWeights is for a detector whose neck is a LanguageGuidedTokenizer (set it as '
                f'model.init_cfg), got {type(module).__name__}'
            )
        print_log(f'load Deformable DETR from: {self.checkpoint}', logger='current')
        state, classes = read_weights_and_classes(self.checkpoint, self.map_location)
        classes = tuple(self.classes or classes)
        try:
            converted = convert_deformable_detr(state, module.neck.num_queries)
            self._check(module, converted)
        except ValueError as error:
            raise ValueError(f'{self.checkpoint}: {error}') from error
        module.neck.init_weights()
        module.load_state_dict(converted, strict=False)
        module.bbox_head.init_weights()  # names are embedded by the pretrained language model
        module.backbone.is_init = module.neck.is_init = module.bbox_head.is_init = True
        self._name_tokens(module.bbox_head, state, classes, module.neck.decoder.num_layers - 1)
        if hasattr(module, '_params_init_info'):
            loaded = f'DeformableDETRWeights: load from {self.checkpoint}'
            for part in (module.backbone, module.neck):
                update_init_info(part, init_info=loaded)

    def _name_tokens(self, decoder: nn.Module, state: Mapping[str, Tensor], classes: tuple[str, ...], layer: int) -> None:
        state = {name.removeprefix('module.'): weight for name, weight in state.items()}
        branch = f'bbox_head.cls_branches.{layer}'
        weight, bias = state[f'{branch}.weight'], state[f'{branch}.bias']
        if len(classes) != len(weight):
            print_log(
                f'{self.checkpoint} does not name its {len(weight)} classes (meta.dataset_meta.classes): image tokens '
                'begin without the names of what they show',
                logger='current',
                level=logging.WARNING,
            )
            return
        names = decoder.language_model.name_embeddings(classes)
        decoder.projector.start_from_classes(weight, bias, names)

    @staticmethod
    def _check(module: nn.Module, converted: Mapping[str, Tensor]) -> None:
        refines = has_box_refine(converted)
        if refines != module.neck.with_box_refine and module.neck.decoder.num_layers > 1:
            raise ValueError(
                f'the Deformable DETR was trained {"with" if refines else "without"} box refinement: set '
                f'model.neck.with_box_refine={refines}'
            )
        number = len(converted['neck.token_head.cls_branches.0.bias'])
        if number != module.neck.token_head.cls_branches[0].out_features:
            raise ValueError(f'the Deformable DETR has {number} classes: set model.neck.token_head.num_classes={number}')
        shared = tuple(_MOVED.values())
        if f'{_QUERIES[0]}weight' not in converted:  # new where those of the checkpoint are made from proposals
            shared = tuple(part for part in shared if part not in _QUERIES)
        wanted = {name: weight.shape for name, weight in module.state_dict().items() if name.startswith(shared)}
        # BatchNorm's counters decide nothing; old checkpoints have none.
        wanted = {name: s for name, s in wanted.items() if not name.endswith('batches_tracked')}
        given = {name: weight.shape for name, weight in converted.items()}
        given = {name: s for name, s in given.items() if not name.endswith('batches_tracked')}
        problems = [
            *(f'{name} is missing' for name in sorted(wanted.keys() - given.keys())),
            *(f'{name} is left over' for name in sorted(given.keys() - wanted.keys())),
            *(
                f'{name} is {tuple(given[name])}, the model has {tuple(shape)}'
                for name, shape in sorted(wanted.items())
                if name in given and given[name] != shape
            ),
        ]
        if problems:
            shown = '; '.join(problems[:8]) + ('; ...' if len(problems) > 8 else '')
            raise ValueError(f'its sizes are not those of the model ({len(problems)} differences): {shown}')
