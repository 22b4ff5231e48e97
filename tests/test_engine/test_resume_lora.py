# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""A frozen language model with LoRA: its weights are not in checkpoints, and a training resumes exactly without them.

The language model is of another family than the config's, with its own tokenizer, and trains the tiny scenes config.
"""

from pathlib import Path

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.runner import Runner
from small_training import ROOT, read_log, small_config, train

from mmvisionllm.utils.checkpoint import read_checkpoint

ITERS = 6
TOKENIZER = str(ROOT / 'configs/_base_/tokenizers/scenes_coco')


@pytest.fixture(scope='module')
def folder(llm_folder):
    return str(llm_folder(model_type='qwen2', tie_word_embeddings=True, tokenizer=TOKENIZER, vocab_size=1728))


@pytest.fixture(scope='module')
def make(scenes, folder):
    """Function that makes the config of a short training."""

    def make(work_dir, pretrained=folder):
        cfg = small_config(scenes, work_dir, workers=0)
        cfg.model.bbox_head.language_model = ConfigDict(
            type='LanguageModel',
            pretrained=pretrained,
            lora=dict(r=4, target_modules='all-linear', lora_dropout=0.1, use_dora=True),
            gradient_checkpointing=True,
        )
        cfg.train_cfg.update(max_iters=ITERS, val_interval=ITERS)
        cfg.param_scheduler[0].end = ITERS
        return cfg

    return make


@pytest.fixture(scope='module')
def unbroken(make, tmp_path_factory):
    cfg = make(tmp_path_factory.mktemp('unbroken'))
    train(cfg)
    return Path(cfg.work_dir)


def load(cfg, checkpoint):
    """As train and test do it."""
    cfg.load_from = str(checkpoint)
    runner = Runner.from_cfg(cfg)
    runner.load_or_resume()
    return runner.model


def losses(work_dir):
    return {step: found for what, step, found in read_log(work_dir) if what == 'train'}


def test_resumes_exactly(make, unbroken, tmp_path):
    cfg = make(tmp_path)
    train(cfg, kill=(4, 0.0))
    train(cfg, resume=True)
    assert [i for what, i, _ in read_log(tmp_path) if what == 'start'] == [0, 3]
    expected = losses(unbroken)
    assert losses(tmp_path) == expected and len({str(loss) for loss in expected.values()}) == ITERS
    one, other = (read_checkpoint(str(d / f'iter_{ITERS}.pth')) for d in (tmp_path, unbroken))
    torch.testing.assert_close(one['state_dict'], other['state_dict'], rtol=0, atol=0)
    torch.testing.assert_close(one['optimizer']['state'], other['optimizer']['state'], rtol=0, atol=0)


def test_checkpoint_holds_what_trains(unbroken):
    state = read_checkpoint(str(unbroken / f'iter_{ITERS}.pth'))['state_dict']
    own = [key for key in state if key.startswith('bbox_head.language_model.lm.')]
    assert own and all('.lora_' in key for key in own)
    assert any(key.startswith('bbox_head.language_model.added.') for key in state)
    assert any(key.startswith('backbone.') for key in state)


def test_report_at_the_start(unbroken):
    log = (unbroken / 'output.txt').read_text()
    assert 'What trains:' in log and '| LoRA | ' in log and '| language model | 0 | ' in log
    assert 'optimizer states: 0.' in log and 'Not counted: activations' in log


def test_loads_for_a_test(make, unbroken, tmp_path):
    path = unbroken / f'iter_{ITERS}.pth'
    weights = read_checkpoint(str(path))['state_dict']
    loaded = load(make(tmp_path), path).state_dict()
    assert loaded.keys() == weights.keys()
    torch.testing.assert_close(loaded, weights, rtol=0, atol=0)


def test_a_checkpoint_without_all_that_trains_is_refused(make, unbroken, tmp_path):
    checkpoint = read_checkpoint(str(unbroken / f'iter_{ITERS}.pth'))
    names = [
        next(key for key in checkpoint['state_dict'] if part in key)
        for part in ('lora_magnitude', 'added.output', 'conv1.weight')
    ]
    for key in names:
        del checkpoint['state_dict'][key]
    path = tmp_path / 'lacking.pth'
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match='3 trained weights are wrong: backbone.conv1.weight is missing'):
        load(make(tmp_path), path)
    cfg = make(tmp_path)
    cfg.default_hooks.trained_weights.allow_missing = names
    load(cfg, path)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(seed=1), 'trained on the frozen weights of'),
        (dict(vocab_size=1562, tokenizer=None), 'differ in vocab_size'),
        (dict(model_type='llama'), 'differ in model_type'),
    ],
)
def test_another_language_model_is_refused(make, llm_folder, unbroken, tmp_path, changes, message):
    other = dict(model_type='qwen2', tie_word_embeddings=True, tokenizer=TOKENIZER, vocab_size=1728) | changes
    if other['tokenizer'] is None:
        del other['tokenizer']
    cfg = make(tmp_path, str(llm_folder(**other)))
    cfg.model.bbox_head.language_model.lora.pop('use_dora')  # the language model is told before what is missing
    cfg.default_hooks.trained_weights.allow_missing = ['']
    with pytest.raises(ValueError, match=message):
        load(cfg, unbroken / f'iter_{ITERS}.pth')
