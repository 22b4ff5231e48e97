import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.evaluator import Evaluator
from pycocotools.coco import COCO

import mmvisionllm  # noqa: F401  registers the metric
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmvisionllm.evaluation.caption_metric import METRIC_NAMES, ptb_tokenize, tokenize

pytest.importorskip('pycocoevalcap')
needs_java = pytest.mark.skipif(shutil.which('java') is None, reason='java is not installed')

REFERENCES = {
    1: ["A man's dog runs, fast!", 'The dog is running across green grass.'],
    2: ['Two black-and-white cats sleep.', 'Cats on a bed (asleep)'],
    3: ["Nobody can't see 3.5 cakes; they aren't there", 'Cakes with 1,000 candles'],
    4: ['A bus "number 7" in the street', 'a red bus drives down a street'],
}
PREDICTIONS = {
    1: 'a dog is running across the grass',
    2: 'Two cats asleep on a bed.',
    3: 'cakes with candles',
    4: 'a red bus drives down the street',
}


def write(path, references=REFERENCES):
    captions = [dict(image_id=i, caption=c) for i, many in references.items() for c in many]
    for number, caption in enumerate(captions):
        caption['id'] = number
    document = dict(info={}, images=[dict(id=i) for i in references], annotations=captions)
    path.write_text(json.dumps(document | dict(type='captions', licenses=[])))
    return str(path)


def evaluate(cfg, predictions=PREDICTIONS):
    evaluator = Evaluator(METRICS.build(dict(type='CaptionMetric') | cfg))
    samples = []
    for img_id, caption in predictions.items():
        sample = DetDataSample(metainfo=dict(img_id=img_id))
        sample.pred_caption = caption
        samples.append(sample)
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


def reference(path, monkeypatch):
    """What pycocoevalcap reports, without the two scorers that want more than a tokenizer."""
    from pycocoevalcap import eval as evaluation

    class Nothing:
        def compute_score(self, references, predictions):
            return 0.0, [0.0] * len(references)

        def method(self):
            return 'nothing'

    monkeypatch.setattr(evaluation, 'Meteor', Nothing)
    monkeypatch.setattr(evaluation, 'Spice', Nothing)
    coco = COCO(path)
    made = coco.loadRes([dict(image_id=i, caption=c) for i, c in PREDICTIONS.items()])
    evaluator = evaluation.COCOEvalCap(coco, made)
    evaluator.params['image_id'] = made.getImgIds()
    evaluator.evaluate()
    return evaluator.eval


@needs_java
def test_equals_pycocoevalcap(tmp_path, monkeypatch):
    path = write(tmp_path / 'captions.json')
    ours = evaluate(dict(ann_file=path, metrics=METRIC_NAMES))
    theirs = reference(path, monkeypatch)
    assert ours == {f'caption/{name}': pytest.approx(theirs[name]) for name in METRIC_NAMES}
    assert 0 < ours['caption/Bleu_4'] < 1 < ours['caption/CIDEr']


@needs_java
def test_without_java_the_scores_are_close(tmp_path):
    cfg = dict(ann_file=write(tmp_path / 'captions.json'), metrics=METRIC_NAMES)
    # The PTB tokenizer counts parentheses as words.
    assert evaluate(cfg | dict(ptb_tokenizer=False)) == pytest.approx(evaluate(cfg), rel=0.1)


@needs_java
def test_real_captions_are_tokenized_alike(coco_mini):
    path = coco_mini / 'annotations/captions_val2017.json'
    captions = [' '.join(a['caption'].split()) for a in json.loads(path.read_text())['annotations']]
    assert ptb_tokenize({0: captions}) == {0: [tokenize(caption) for caption in captions]}


@needs_java
def test_odd_predictions_stay_with_their_images(tmp_path):
    odd = {1: '', 2: 'two\ncats\x85asleep\u2028on a bed', 3: '\ud800', 4: PREDICTIONS[4]}
    plain = {**odd, 2: 'two cats asleep on a bed'}
    cfg = dict(ann_file=write(tmp_path / 'captions.json'))
    assert evaluate(cfg, odd) == evaluate(cfg, plain)


def test_a_reference_is_a_perfect_caption(tmp_path):
    references = {i: many[1:] for i, many in REFERENCES.items()}
    cfg = dict(ann_file=write(tmp_path / 'captions.json', references), metrics=METRIC_NAMES, ptb_tokenizer=False)
    made = evaluate(cfg, {i: many[0] for i, many in references.items()})
    assert made.pop('caption/CIDEr') == pytest.approx(10)
    assert made == pytest.approx(dict.fromkeys(made, 1))
    assert list(evaluate(dict(cfg, metrics=['Bleu_4']))) == ['caption/Bleu_4']


def test_image_ids_as_karpathys_splits_have_them(tmp_path):
    cfg = dict(ann_file=write(tmp_path / 'captions.json'), ptb_tokenizer=False)
    padded = {f'{i:012d}': caption for i, caption in PREDICTIONS.items()}
    assert evaluate(cfg, padded) == evaluate(cfg)


@pytest.mark.parametrize('script', [None, 'exit 1', 'echo no such thing'])
def test_no_java_that_runs(tmp_path, monkeypatch, script):
    if script:
        java = tmp_path / 'java'
        java.write_text(f'#!/bin/sh\n{script}\n')
        java.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(RuntimeError, match='install a Java runtime .*or set ptb_tokenizer=False'):
        evaluate(dict(ann_file=write(tmp_path / 'captions.json')))


def test_no_pycocoevalcap(tmp_path, monkeypatch):
    from mmdet.evaluation.metrics import coco_caption_metric

    monkeypatch.setattr(coco_caption_metric, 'COCOEvalCap', None)
    with pytest.raises(RuntimeError, match='pip install pycocoevalcap'):
        evaluate(dict(ann_file=write(tmp_path / 'captions.json')))


def test_an_image_without_captions(tmp_path):
    cfg = dict(ann_file=write(tmp_path / 'captions.json'), ptb_tokenizer=False)
    with pytest.raises(ValueError, match=r'captions\.json has no captions of the images \[9\]'):
        evaluate(cfg, {9: 'a dog'})


def test_unknown_metrics(tmp_path):
    for metrics in (['METEOR'], []):
        with pytest.raises(ValueError, match="metrics must be of .*'CIDEr'"):
            evaluate(dict(ann_file=write(tmp_path / 'captions.json'), metrics=metrics))


@pytest.mark.parametrize(
    'text, message',
    [
        ('[]', 'must hold an object with a list under "annotations"'),
        ('{"annotations": [{"image_id": 1}]}', "is not in COCO Captions' format.*KeyError"),
        ('{"annotations": [{"image_id": 1, "caption": null}]}', "is not in COCO Captions' format"),
    ],
)
def test_another_file(tmp_path, text, message):
    path = tmp_path / 'other.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=rf'other\.json {message}'):
        evaluate(dict(ann_file=str(path), ptb_tokenizer=False))


@pytest.mark.parametrize(
    'text, wanted',
    [
        ("A man's dog doesn't run.", "a man 's dog does n't run"),
        ('A "red" bus (number 7), fast!', 'a red bus number 7 fast'),
        ('black-and-white 3.5 at 12:30, 1,000 times', 'black-and-white 3.5 at 12:30 1,000 times'),
        ('R&B for $5, #1', 'r & b for $ 5 # 1'),
        ("'quoted' girls' word,word", 'quoted girls word word'),
        ('', ''),
    ],
)
def test_plain_tokenizer(text, wanted):
    assert tokenize(text) == wanted


@given(st.text())
def test_plain_tokenizer_gives_words_on_one_line(text):
    tokens = tokenize(text)
    assert ' '.join(tokens.split()) == tokens
