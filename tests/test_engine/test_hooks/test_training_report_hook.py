"""The report's numbers are those of the training."""

import pytest
import torch

from mmvisionllm.engine.hooks.training_report_hook import expected_memory, format_memory, state_share
from mmvisionllm.utils.meta_build import count_parameters

LORA = dict(r=4, target_modules='all-linear')


def size(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


@pytest.fixture(scope='module')
def detector(small):
    llm = small.language_model(lora=LORA, torch_dtype='bfloat16')
    return small.build(small.detector(bbox_head=small.decoder(language_model=llm)))


@pytest.mark.parametrize(
    'kind, settings, share',
    [
        ('AdamW', dict(lr=1e-3, weight_decay=0.1), 2),
        ('AdamW', dict(amsgrad=True), 3),
        ('SGD', dict(lr=0.1), 0),
        ('SGD', dict(lr=0.1, momentum=0.9), 1),
        ('Adagrad', {}, 1),
    ],
)
def test_optimizer_states(kind, settings, share):
    optimizer = getattr(torch.optim, kind)([torch.nn.Parameter(torch.zeros(2))], **settings)
    assert state_share(optimizer) == share


def test_an_optimizer_that_cannot_be_made_anew():
    class Own(torch.optim.SGD):
        def __init__(self, params, secret):
            super().__init__(params, lr=1.0)

    optimizer = Own([torch.nn.Parameter(torch.zeros(2))], None)
    assert state_share(optimizer) is None
    memory = expected_memory(torch.nn.Linear(2, 2), [optimizer])
    assert memory['optimizer states'] is None
    assert 'optimizer states: not known for this optimizer' in format_memory(memory)


def test_memory_is_what_a_step_takes(detector):
    # As mmengine does: all parameters, also those that do not train.
    optimizer = torch.optim.AdamW(detector.parameters(), lr=1e-3)
    memory = expected_memory(detector, [optimizer])
    for parameter in detector.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    states = [t for s in optimizer.state.values() for t in s.values() if t.dim()]
    assert memory == {
        'weights': size([*detector.parameters(), *detector.buffers()]),
        'gradients': size([p.grad for p in detector.parameters() if p.grad is not None]),
        'optimizer states': size(states),
    }
    text = format_memory({**memory, 'weights': 2_500_000_000})
    assert 'weights: 2.500 GB' in text and 'Not counted: activations' in text


def test_parts(detector):
    counts = count_parameters(detector)
    own = [p for n, p in detector.bbox_head.language_model.lm.named_parameters() if 'lora' not in n]
    assert counts['language model'].trainable == 0
    assert counts['language model'].total == sum(p.numel() for p in own)
    assert counts['LoRA'].trainable == counts['LoRA'].total > 0
    total = sum(p.numel() for p in detector.parameters() if p.requires_grad)
    assert sum(c.trainable for c in counts.values()) == total
    wrapped = torch.nn.ModuleDict(dict(module=detector))  # as DistributedDataParallel names its parts
    assert count_parameters(wrapped) == counts
