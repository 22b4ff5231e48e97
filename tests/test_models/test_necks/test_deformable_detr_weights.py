"""A Deformable DETR's weights in a VisionLLM: every key has its place, and the neck then does what the DETR did."""

import functools
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmvisionllm.models.necks.deformable_detr_weights import convert_deformable_detr, has_box_refine
from mmvisionllm.models.necks.detr_kinds import WITH_PROPOSALS, kind_of
from mmvisionllm.utils.meta_build import build_on_meta

ROOT = Path(__file__).parents[3]
TOKENIZER = str(ROOT / 'configs/_base_/tokenizers/scenes')
PAPER = ROOT / 'configs/visionllm/visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py'
DIMS, CLASSES, DETR_QUERIES = 32, 5, 9
OWN_PARTS = ('neck.text_encoder.', 'neck.fusions.', 'bbox_head.')  # what a Deformable DETR has nothing for


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmdet')
    torch.manual_seed(0)


def parts(refine=False, layers=2, num_queries=DETR_QUERIES):
    """What both detectors are built from."""
    attention = dict(embed_dims=DIMS, batch_first=True)
    ffn = dict(embed_dims=DIMS, feedforward_channels=48, ffn_drop=0.1)
    return dict(
        backbone=dict(
            type='ResNet',
            depth=18,
            base_channels=8,
            out_indices=(1, 2, 3),
            frozen_stages=1,
            norm_cfg=dict(type='BN', requires_grad=False),
            norm_eval=True,
            # Never fetched: the checkpoint holds the backbone.
            init_cfg=dict(type='Pretrained', checkpoint='no/such/backbone.pth'),
        ),
        mapper=dict(
            type='ChannelMapper',
            in_channels=[16, 32, 64],
            kernel_size=1,
            out_channels=DIMS,
            act_cfg=None,
            norm_cfg=dict(type='GN', num_groups=8),
            num_outs=4,
        ),
        transformer=dict(
            num_queries=num_queries,
            with_box_refine=refine,
            encoder=dict(num_layers=layers, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
            decoder=dict(
                num_layers=layers,
                return_intermediate=True,
                layer_cfg=dict(
                    self_attn_cfg=dict(num_heads=8, dropout=0.1, **attention), cross_attn_cfg=attention, ffn_cfg=ffn
                ),
                post_norm_cfg=None,
            ),
            positional_encoding=dict(num_feats=DIMS // 2, normalize=True, offset=-0.5),
        ),
        head=dict(
            loss_cls=dict(type='FocalLoss', use_sigmoid=True, loss_weight=2.0),
            loss_bbox=dict(type='L1Loss', loss_weight=5.0),
            loss_iou=dict(type='GIoULoss', loss_weight=2.0),
        ),
    )


def build_detr(two_stage=False, dino=False, **kwargs):
    """An mmdet Deformable DETR, or a DINO, with random weights, none of them equal."""
    p = parts(**kwargs)
    head = 'DINOHead' if dino else 'DeformableDETRHead'
    noise = dict(label_noise_scale=0.5, box_noise_scale=1.0, group_cfg=dict(dynamic=True, num_dn_queries=4))
    model = MODELS.build(
        dict(
            type='DINO' if dino else 'DeformableDETR',
            **(dict(dn_cfg=noise) if dino else {}),
            backbone=p['backbone'],
            neck=p['mapper'],
            as_two_stage=two_stage,
            bbox_head=dict(type=head, num_classes=CLASSES, embed_dims=DIMS, **p['head']),
            test_cfg=dict(max_per_img=10),
            **p['transformer'],
        )
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def build_visionllm(checkpoint=None, text=False, outline_head=None, **kwargs):
    p = parts(**kwargs)
    outlines = dict(outline_head=outline_head) if outline_head else {}
    small = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    encoder = dict(type='TextEncoder', tokenizer=TOKENIZER, config=dict(model_type='bert', **small))
    return MODELS.build(
        dict(
            type='VisionLLM',
            backbone=p['backbone'],
            neck=dict(
                type='OutlineTokenizer' if outlines else 'LanguageGuidedTokenizer',
                **outlines,
                channel_mapper=p['mapper'],
                token_head=dict(type='BoxTokenHead', num_classes=CLASSES, **p['head']),
                text_encoder=encoder if text else None,
                **p['transformer'],
            ),
            bbox_head=dict(
                type='OpenEndedDecoder',
                embed_dims=DIMS,
                language_model=dict(type='LanguageModel', tokenizer=TOKENIZER, config=dict(model_type='llama', **small)),
            ),
            init_cfg=checkpoint and dict(type='DeformableDETRWeights', checkpoint=str(checkpoint)),
        )
    )


NAMES = ('circle', 'red star', 'heart', 'arrow', 'square')


def save(model, path, prefix='', meta=None):
    state = {prefix + name: weight for name, weight in model.state_dict().items()}
    torch.save(dict(meta=dict(epoch=50) | (meta or {}), state_dict=state), path)
    return path


@pytest.mark.parametrize('refine', [False, True], ids=['plain', 'refine'])
def test_every_key_has_its_place(refine):
    converted = convert_deformable_detr(build_detr(refine=refine).state_dict(), DETR_QUERIES)
    model = build_visionllm(text=True, refine=refine)
    result = model.load_state_dict(converted, strict=False)
    assert result.unexpected_keys == []
    assert result.missing_keys
    assert [key for key in result.missing_keys if not key.startswith(OWN_PARTS)] == []
    assert has_box_refine(converted) is refine


@pytest.mark.parametrize('padded', [False, True], ids=['whole', 'padded'])
@pytest.mark.parametrize('refine', [False, True], ids=['plain', 'refine'])
def test_neck_equals_the_detr(refine, padded, tmp_path):
    detr = build_detr(refine=refine)
    model = build_visionllm(save(detr, tmp_path / 'detr.pth', 'module.'), refine=refine)
    model.init_weights()
    model.eval()
    images = torch.randn(2, 3, 64, 96)
    shapes = ((64, 96), (48, 80) if padded else (64, 96))
    samples = [DetDataSample(metainfo=dict(img_shape=shape, batch_input_shape=(64, 96))) for shape in shapes]
    with torch.no_grad():
        scores, boxes = detr(images, samples, mode='tensor')
        theirs = detr.forward_transformer(detr.extract_feat(images), samples)
        tokens = model.neck(model.extract_feat(images), ['', ''], samples)
    assert boxes[-1, ..., :2].std() > 0.01  # the random model places its queries apart
    assert torch.equal(tokens.embeddings, theirs['hidden_states'][-1])
    assert torch.equal(tokens.layer_boxes, boxes)
    assert torch.equal(tokens.layer_scores[..., 0], scores.logsumexp(-1))


def test_cuts_queries():
    state = build_detr().state_dict()
    converted = convert_deformable_detr(state, 4)
    assert torch.equal(converted['neck.query_embedding.weight'], state['query_embedding.weight'][:4])


def test_the_number_of_classes_is_the_detectors(tmp_path):
    model = build_visionllm(save(build_detr(), tmp_path / 'detr.pth'))
    model.neck.token_head.cls_branches[0].out_features = 3
    with pytest.raises(ValueError, match='the Deformable DETR has 5 classes: set model.neck.token_head.num_classes=5'):
        model.init_weights()


def test_initializer_comes_after_the_children_and_leaves_the_rest(tmp_path):
    detr = build_detr()
    model = build_visionllm(save(detr, tmp_path / 'detr.pth'), text=True, num_queries=4)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.init_weights()
    after = model.state_dict()
    for name, weight in convert_deformable_detr(detr.state_dict(), 4).items():
        torch.testing.assert_close(after[name], weight, msg=name)
    language = [name for name in before if name.startswith(('neck.text_encoder.', 'neck.fusions.'))]
    assert language
    for name in language:
        torch.testing.assert_close(after[name], before[name], msg=name)
    assert model.bbox_head.is_init and model.backbone.is_init and model.neck.is_init


@pytest.mark.parametrize(
    'meta',
    [dict(dataset_meta=dict(classes=NAMES)), dict(dataset_meta=dict(CLASSES=NAMES)), dict(CLASSES=NAMES)],
    ids=['mmdet 3', 'mmdet 3 of mmdet 2', 'mmdet 2'],
)
@torch.no_grad()
def test_tokens_begin_as_the_names_of_the_detectors_classes(meta, tmp_path):
    """A token is the sum of the names, each weighted by what its class's logit is above the mean of all."""
    detr = build_detr()
    model = build_visionllm(save(detr, tmp_path / 'detr.pth', 'module.', meta))
    before = model.bbox_head.projector.linear.weight.norm().item()
    model.init_weights()
    decoder = model.bbox_head
    names = decoder.language_model.name_embeddings(NAMES)
    embeddings = torch.randn(50, DIMS)
    logits = detr.bbox_head.cls_branches[-1](embeddings)
    expected = (logits - logits.mean(-1, keepdim=True)) @ names
    found = decoder.projector.linear(embeddings)
    torch.testing.assert_close(found / found.norm(), expected / expected.norm())
    assert decoder.projector.linear.weight.norm().item() == pytest.approx(before, rel=1e-4)


def test_classes_may_have_other_names_in_instructions(tmp_path):
    checkpoint = save(build_detr(), tmp_path / 'detr.pth', meta=dict(dataset_meta=dict(classes=NAMES)))
    words = tuple(f'small {name}' for name in NAMES)
    models = [build_visionllm(checkpoint), build_visionllm(save(build_detr(), tmp_path / 'nameless.pth'))]
    torch.save(dict(torch.load(checkpoint), meta=dict(dataset_meta=dict(classes=words))), tmp_path / 'renamed.pth')
    models[0].init_cfg['classes'] = words
    models[1].init_cfg['checkpoint'] = str(tmp_path / 'renamed.pth')
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        model.init_weights()
    renamed, wanted = (model.bbox_head.projector.linear.weight for model in models)
    torch.testing.assert_close(renamed / renamed.norm(), wanted / wanted.norm())


def test_tokens_begin_as_the_name_of_a_single_class():
    projector = build_visionllm().bbox_head.projector
    weight, bias, name = torch.randn(1, DIMS), torch.randn(1), torch.randn(1, projector.linear.out_features)
    with torch.no_grad():
        projector.start_from_classes(weight, bias, name)
    embeddings = torch.randn(50, DIMS)
    expected = (embeddings @ weight.T + bias) @ name
    found = projector.linear(embeddings)
    torch.testing.assert_close(found / found.norm(), expected / expected.norm())


def test_a_checkpoint_that_does_not_name_its_classes_says_so(tmp_path, caplog):
    model = build_visionllm(save(build_detr(), tmp_path / 'detr.pth'))
    before = model.bbox_head.projector.linear.weight.clone()
    logger = MMLogger.get_current_instance()
    level = logger.level  # of whatever test came before
    logger.setLevel('WARNING')
    logger.addHandler(caplog.handler)
    model.init_weights()
    logger.removeHandler(caplog.handler)
    logger.setLevel(level)
    torch.testing.assert_close(model.bbox_head.projector.linear.weight, before)
    assert 'does not name its 5 classes (meta.dataset_meta.classes)' in caplog.text


@pytest.mark.parametrize('refine', [False, True], ids=['plain', 'refine'])
def test_released_r50_fits_the_paper_config_by_name_and_shape(refine):
    variant = 'deformable-detr-refine' if refine else 'deformable-detr'
    with torch.device('meta'):
        detr = MODELS.build(get_config(f'mmdet::deformable_detr/{variant}_r50_16xb2-50e_coco.py').model)
    converted = convert_deformable_detr(detr.state_dict(), 100)
    cfg = Config.fromfile(str(PAPER))
    cfg.model.neck.with_box_refine = refine
    model = build_on_meta(cfg, dict(TextEncoder=TOKENIZER, LanguageModel=TOKENIZER))
    wanted = {name: weight.shape for name, weight in model.state_dict().items() if not name.startswith(OWN_PARTS)}
    assert {name: weight.shape for name, weight in converted.items()} == wanted


ZOO = {
    'Deformable DETR': 'deformable_detr/deformable-detr_r50_16xb2-50e_coco',
    'two-stage Deformable DETR': 'deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco',
    'DINO': 'dino/dino-4scale_r50_8xb2-12e_coco',
    'DDQ DETR': 'ddq/ddq-detr-4scale_r50_8xb2-12e_coco',
    'Conditional DETR': 'conditional_detr/conditional-detr_r50_8xb2-50e_coco',
    'DAB-DETR': 'dab_detr/dab-detr_r50_8xb2-50e_coco',
    'DETR': 'detr/detr_r50_8xb2-150e_coco',
    'two-stage detector with proposals of an RPN': 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco',
    'mask transformer (MaskFormer or Mask2Former)': 'mask2former/mask2former_r50_8xb2-lsj-50e_coco',
    None: 'retinanet/retinanet_r50_fpn_1x_coco',
}


@pytest.fixture(scope='module')
def zoo():
    """Function from a kind to the weights of mmdet's own model of it, as names and shapes."""

    @functools.cache
    def weights(kind):
        with torch.device('meta'):
            return MODELS.build(get_config(f'mmdet::{ZOO[kind]}.py').model).state_dict()

    return weights


@pytest.mark.parametrize('kind', ZOO)
def test_the_kind_is_known_by_its_weights(kind, zoo):
    assert kind_of(zoo(kind)) == kind


@pytest.mark.parametrize('kind', [kind for kind in ZOO if kind not in ('Deformable DETR', *WITH_PROPOSALS)])
def test_another_kind_is_refused_by_its_name(kind, zoo):
    with pytest.raises(ValueError, match=re.escape(f'this is a {kind}: VisionLLM starts from') if kind else 'is no Def'):
        convert_deformable_detr(zoo(kind), 4)


@pytest.mark.parametrize('kind', WITH_PROPOSALS)
def test_what_is_taken_of_a_detector_with_proposals(kind, zoo):
    """All but queries and what makes them, as of a Deformable DETR with box refinement."""
    expected = convert_deformable_detr(zoo('Deformable DETR'), 100)
    names = {name for name in expected if 'query_embedding' not in name and 'reference_points_fc' not in name}
    assert set(convert_deformable_detr(zoo(kind), 100)) == names


@pytest.mark.parametrize('kind', WITH_PROPOSALS[:2])
def test_starts_from_a_detector_with_proposals(kind, tmp_path):
    detr = build_detr(refine=True, two_stage=True, dino=kind == 'DINO')
    model = build_visionllm(save(detr, tmp_path / 'detr.pth', meta=dict(dataset_meta=dict(classes=NAMES))), refine=True)
    model.init_weights()
    given, found = detr.state_dict(), model.state_dict()
    for name in ('encoder.layers.1.self_attn.value_proj.weight', 'decoder.layers.0.ffn.layers.1.weight', 'level_embed'):
        assert torch.equal(found[f'neck.{name}'], given[name])
    for name in ('cls_branches.1.weight', 'reg_branches.1.4.weight'):
        assert torch.equal(found[f'neck.token_head.{name}'], given[f'bbox_head.{name}'])
    assert torch.isfinite(found['neck.query_embedding.weight']).all()


def test_what_only_the_visionllm_has_is_new(tmp_path):
    detr = build_detr(refine=True)
    model = build_visionllm(save(detr, tmp_path / 'detr.pth'), refine=True, outline_head=dict(num_harmonics=4))
    model.init_weights()
    found = model.state_dict()
    assert torch.equal(found['neck.level_embed'], detr.state_dict()['level_embed'])
    assert any('outline_head' in name for name in found)


def test_foreign_weights_are_refused():
    with pytest.raises(ValueError, match='is no Deformable DETR of mmdet 3'):
        convert_deformable_detr({'fc.weight': torch.zeros(2, 2)}, 4)
    state = build_detr().state_dict()
    with pytest.raises(ValueError, match="no part of a Deformable DETR: 'mask_head.weight'"):
        convert_deformable_detr({**state, 'mask_head.weight': torch.zeros(1)}, 4)


def test_too_few_queries_are_refused():
    with pytest.raises(ValueError, match='9 queries.*num_queries=10'):
        convert_deformable_detr(build_detr().state_dict(), 10)


@pytest.mark.parametrize('refine', [False, True])
def test_box_refinement_must_agree(refine, tmp_path):
    path = save(build_detr(refine=refine), tmp_path / 'detr.pth')
    model = build_visionllm(path, refine=not refine)
    with pytest.raises(ValueError, match=f'set model.neck.with_box_refine={refine}'):
        model.init_weights()


def test_other_sizes_are_refused(tmp_path):
    path = save(build_detr(layers=3), tmp_path / 'detr.pth')
    with pytest.raises(ValueError, match=r'neck.decoder.layers.2.cross_attn.attention_weights.bias is left over'):
        build_visionllm(path).init_weights()
    path = save(build_detr(), path)
    with pytest.raises(ValueError, match=r'neck.decoder.layers.2.cross_attn.attention_weights.bias is missing'):
        build_visionllm(path, layers=3).init_weights()
    state = build_detr().state_dict()
    state['level_embed'] = torch.zeros(4, 64)
    torch.save(state, path)
    with pytest.raises(ValueError, match=r'level_embed is \(4, 64\), the model has \(4, 32\)'):
        build_visionllm(path).init_weights()


def test_initializer_is_for_visionllm_only(tmp_path):
    detr = build_detr()
    detr.init_cfg = dict(type='DeformableDETRWeights', checkpoint=str(tmp_path / 'x.pth'))
    with pytest.raises(TypeError, match='LanguageGuidedTokenizer'):
        detr.init_weights()
