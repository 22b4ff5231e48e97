# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""mmdet's own DetInferencer with this package's config, as it is."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmvisionllm.apis import VisionLLMInferencer


@pytest.fixture(scope='module')
def inferencer(config, weights):
    return DetInferencer(model=config, weights=weights, device='cpu', show_progress=False)


def names_in(texts: list[str]) -> set[str]:
    """``star: 5.1`` -> ``star``."""
    return {text.rsplit(':', 1)[0] for text in texts}


def test_names_and_files(inferencer, config, scenes, tmp_path, drawn_texts):
    texts = drawn_texts(inferencer)
    result = inferencer(str(scenes / '0.png'), out_dir=str(tmp_path), no_save_pred=False, pred_score_thr=0.0)
    names = Config.fromfile(config).categories
    prediction = result['predictions'][0]
    assert len(prediction['labels']) == len(texts) == 100
    assert names_in(texts) == {names[label] for label in prediction['labels']}
    assert cv2.imread(str(tmp_path / 'vis' / '0.png')).shape == (128, 128, 3)
    assert (tmp_path / 'preds' / '0.json').is_file()


def test_boxes_are_in_pixels_of_the_image(inferencer, scenes):
    """A picture of twice the size, which the pipeline brings back to the same input."""
    small = cv2.imread(str(scenes / '0.png'))
    large = small.repeat(2, axis=0).repeat(2, axis=1)
    results = inferencer([small, large])['predictions']
    boxes = [np.array(result['bboxes']) for result in results]
    np.testing.assert_allclose(boxes[1], 2 * boxes[0], atol=1e-2)
    assert boxes[0].min() >= 0 and boxes[0].max() <= 128
    assert (boxes[0][:, 2:] >= boxes[0][:, :2]).all()


def test_labels_and_names_agree_in_data_samples(inferencer, config, scenes):
    names = Config.fromfile(config).categories
    sample = inferencer(str(scenes / '0.png'), return_datasamples=True)['predictions'][0]
    found = sample.pred_instances
    assert found.label_names == [names[label] for label in found.labels]
    # Selected along with the boxes, as the visualizer does.
    few = found[found.scores > found.scores.median()]
    assert len(few.label_names) == len(few.bboxes) < len(found.bboxes)
    assert torch.equal(few.labels, torch.tensor([names.index(n) for n in few.label_names]))


def test_text_prompt(inferencer, config, weights, scenes, drawn_texts):
    """mmdet's open-vocabulary interface: labels count the prompt's own names."""
    texts = drawn_texts(inferencer)
    prompt = dict(texts='star . heart .', custom_entities=True)
    prediction = inferencer(str(scenes / '0.png'), pred_score_thr=0.0, return_vis=True, **prompt)['predictions'][0]
    assert set(prediction['labels']) == {0, 1} and len(texts) == len(prediction['labels']) == 40
    assert names_in(texts) == {'star', 'heart'}
    own = VisionLLMInferencer(config, weights, device='cpu', show_progress=False)
    own.model = inferencer.model  # elsewhere in memory, sums are rounded differently
    assert own(str(scenes / '0.png'), categories=['star', 'heart'])['predictions'][0]['bboxes'] == prediction['bboxes']


def test_text_prompt_of_inference_detector(config, weights, scenes):
    model = init_detector(config, weights, device='cpu')
    found = inference_detector(model, str(scenes / '0.png'), text_prompt='heart. red_star', custom_entities=True)
    assert set(found.pred_instances.label_names) == {'heart', 'red star'}
    assert found.instruction.categories == ('heart', 'red star')


def test_config_comes_from_the_checkpoint(weights, scenes):
    inferencer = DetInferencer(weights=weights, device='cpu', show_progress=False)
    assert len(inferencer(str(scenes / '0.png'))['predictions'][0]['labels']) == 100


def test_no_weight_is_left_uninitialized(config):
    """Without a checkpoint nothing calls `init_weights`; memory as it was found would give NaN."""
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        states.append(DetInferencer(config, device='cpu').model.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
