"""A training that starts from a checkpoint of another number of classes is told how."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner


class Classifier(BaseModel):
    """A model with a part that depends on the number of classes."""

    def __init__(self, num_classes):
        super().__init__()
        self.body = torch.nn.Linear(2, 3)
        self.bbox_head = torch.nn.ModuleDict(dict(cls_branches=torch.nn.Linear(3, num_classes)))

    def forward(self, inputs, mode='tensor'):
        return dict(loss=self.bbox_head['cls_branches'](self.body(inputs)).square().mean())


@pytest.fixture
def runner(tmp_path):
    """Function that makes a runner that starts from a model of five classes."""
    checkpoint = tmp_path / 'five.pth'
    torch.save(dict(state_dict=Classifier(5).state_dict()), checkpoint)

    def make(**hook):
        return Runner(
            Classifier(3),
            str(tmp_path),
            train_dataloader=dict(dataset=[torch.ones(2)], batch_size=1, sampler=dict(type='DefaultSampler')),
            train_cfg=dict(by_epoch=False, max_iters=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            load_from=str(checkpoint),
            default_scope='mmvisionllm',
            custom_hooks=[dict(type='TrainedWeightsHook', **hook)],
            experiment_name=str(hook) + tmp_path.name,
        )

    return make


def test_another_number_of_classes(runner):
    with pytest.raises(ValueError, match=r'5, 3\) instead of \(3, 3\)') as caught:
        runner().train()
    option = str(caught.value).split('allow_missing=')[1]
    assert option == '"[\'bbox_head.cls_branches\']"'
    body = runner(allow_missing=('bbox_head.cls_branches',)).train().body
    assert torch.isfinite(body.weight).all()


def test_nothing_is_trained_anew_at_a_test(runner):
    with pytest.raises(ValueError) as caught:
        runner().load_or_resume()
    assert 'allow_missing' not in str(caught.value)
