from dataclasses import replace

import pytest
import torch

import mmvisionllm  # noqa: F401  registers its modules
from mmdet.registry import DATASETS, MODELS

LOSSES = dict(type='BoxCriterion', loss_bbox=dict(type='L1Loss'), loss_iou=dict(type='GIoULoss'))


@pytest.fixture(scope='module')
def samples():
    dataset = DATASETS.build(dict(type='SceneTextDataset', length=4, num_bins=33, num_objects=6))
    return [dataset[i]['sample'] for i in range(4)]


def build(small, lookup_accuracy=0.0, **kwargs):
    decoder = small.decoder(loss=LOSSES)
    return small.build(dict(type='LanguagePretraining', bbox_head=decoder, lookup_accuracy=lookup_accuracy, **kwargs))


def train(model, samples, steps):
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0)
    torch.manual_seed(0)
    for _ in range(steps):
        optimizer.zero_grad()
        losses = model(samples)
        sum(value for key, value in losses.items() if key.startswith('loss')).backward()
        optimizer.step()
    return {key: float(value) for key, value in losses.items()}


def test_lookups_come_first_and_the_rest_when_they_are_right(small, samples):
    model = build(small, lookup_accuracy=0.95)
    lookup = {'loss_dec_cls', 'acc', 'acc_all'}
    everything = lookup | {'loss_dec_loc', 'loss_dec_bbox', 'loss_dec_iou', 'loss_text'}
    assert set(model(samples)) == set(model(samples)) == lookup
    model.accuracy.fill_(2)  # the running mean will be above any threshold
    assert set(model(samples)) == lookup
    model.accuracy.fill_(0)  # once learned, the ability is not asked for again
    assert set(model(samples)) == everything


def test_it_goes_from_easy_to_hard(small, samples, monkeypatch):
    """At first, objects have no noise, stand not in the prefix, and none is to be answered by <none>."""
    model = build(small, lookup_accuracy=0.95, noise=1e3)
    seen = []
    decode = model.bbox_head.decode
    monkeypatch.setattr(model.bbox_head, 'decode', lambda *args, **kwargs: seen.append(args) or decode(*args, **kwargs))
    outside = [replace(s, classes=(-1,) * len(s.classes)) for s in samples]
    assert model(outside)['loss_dec_cls'] == 0
    for _ in range(2):
        model.accuracy.fill_(0)
        model(samples)
    (_, first, *_), (_, second, *_) = (args for args in seen[1:])
    assert all(args[0] is None for args in seen)
    model.accuracy.fill_(0.5)
    model(samples)
    noisy = seen[-1][1]
    unlike = torch.nn.functional.cosine_similarity
    assert unlike(first, second, dim=-1).mean() > 0.9 > 0.5 > unlike(first, noisy, dim=-1).abs().mean()
    model.can_look_up.fill_(True)
    assert model(outside)['loss_dec_cls'] > 0
    torch.testing.assert_close(*seen[-1][:2])


@torch.no_grad()
def test_objects_that_resemble_several_names_and_tokens_that_show_nothing(small, samples, monkeypatch):
    model = build(small, noise=0.0, confusion=1.0, num_background=3)
    seen = []
    decode = model.bbox_head.decode
    monkeypatch.setattr(model.bbox_head, 'decode', lambda *args, **kwargs: seen.append(args) or decode(*args, **kwargs))
    torch.manual_seed(0)
    model(samples)
    model.confusion = 0.0
    torch.manual_seed(0)
    model(samples)
    (image, objects, *_), (_, clean, *_) = seen
    assert image.shape[1] == objects.shape[1] + 3
    torch.testing.assert_close(image[:, :-3], objects)
    alike = torch.nn.functional.cosine_similarity(objects, clean, dim=-1)
    assert alike.min() < 0.7 < alike.max() and alike.mean() > 0.2  # some more than others


def test_nothing_that_is_asked_for_does_not_spoil_the_running_accuracy(small, samples):
    model = build(small, lookup_accuracy=0.95)
    model(samples)
    before = model.accuracy.clone()
    outside = [replace(s, classes=(-1,) * len(s.classes)) for s in samples]
    assert model(outside)['acc'] == 0
    assert torch.isfinite(before) and model.accuracy == before


def test_the_stage_is_resumed(small, samples):
    model, resumed = (build(small, lookup_accuracy=0.95) for _ in range(2))
    model.accuracy.fill_(2)
    model(samples)
    resumed.load_state_dict(model.state_dict())
    assert 'loss_text' in resumed(samples)


def test_names_boxes_and_texts_are_learned(small, samples):
    model = build(small, noise=0.1)
    before = model(samples)
    after = train(model, samples, 60)
    assert after['loss_dec_cls'] < 0.5 * before['loss_dec_cls'] and after['acc'] > 60
    assert after['loss_dec_bbox'] < 0.5 * before['loss_dec_bbox']
    assert after['loss_text'] < 0.6 * before['loss_text']


def test_boxes_may_be_left_out(small, samples):
    model = build(small, with_points=False)
    assert set(model(samples)) == {'loss_dec_cls', 'loss_text', 'acc', 'acc_all'}


def test_sets_may_be_left_out(small):
    dataset = DATASETS.build(dict(type='SceneExpressionDataset', length=2, num_bins=33, questioned=1.0))
    assert set(build(small, with_sets=False)([dataset[i]['sample'] for i in range(2)])) == {'loss_answer'}


def test_questions_are_answered_by_looking_at_the_objects(small):
    """The same instruction with other objects before the eyes."""
    dataset = DATASETS.build(
        dict(type='SceneExpressionDataset', length=3, num_bins=33, questioned=0.0, captioned=1.0, single=0.0)
    )
    samples = [dataset[i]['sample'] for i in range(3)]
    instruction = samples[0].answers[0][0]
    samples = [replace(s, answers=((instruction, s.answers[0][1]),)) for s in samples]
    model = build(small, noise=0.1)
    torch.manual_seed(0)
    before = model(samples)['loss_answer']
    assert train(model, samples, 160)['loss_answer'] < 0.1 * before
    blind = [replace(s, names=samples[0].names, boxes=samples[0].boxes, classes=samples[0].classes) for s in samples]
    assert model(blind)['loss_answer'] > 3 * model(samples)['loss_answer']


def test_it_initializes_the_decoder_of_a_detector(small, samples, tmp_path):
    model = build(small)
    path = tmp_path / 'llm.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix='bbox_head')
    decoder = small.decoder(loss=LOSSES, init_cfg=init_cfg)
    decoder = MODELS.build(decoder)
    decoder.init_weights()
    for name, parameter in model.bbox_head.named_parameters():
        torch.testing.assert_close(decoder.get_parameter(name), parameter)


def test_other_modes_are_refused(small, samples):
    with pytest.raises(ValueError, match="only mode 'loss', got 'predict'"):
        build(small)(samples, mode='predict')


def test_expressions_and_formats_are_learned_by_heart(small):
    dataset = DATASETS.build(dict(type='SceneExpressionDataset', length=3, num_bins=33, single=0.0, num_points=(8, 9)))
    samples = [dataset[i]['sample'] for i in range(3)]
    decoder = small.decoder(loss=LOSSES, format_parser=dict(num_samples=6))
    cfg = dict(type='LanguagePretraining', bbox_head=decoder, lookup_accuracy=0.0, noise=0.1, text_weight=0.1)
    model = small.build(cfg)
    first = {key: float(value) for key, value in model(samples).items()}
    last = train(model, samples, 150)
    assert first['loss_dec_format'] > 20 and last['loss_dec_format'] < 2
    assert last['acc'] == 100 and last['loss_dec_cls'] < 0.1
