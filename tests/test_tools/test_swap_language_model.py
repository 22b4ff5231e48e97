# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Another language model by --cfg-options: one of Qwen's kind, with its own tokenizer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from mmvisionllm.scenes import SceneTextDataset
from mmvisionllm.scenes.generator import SceneSettings, make_scenes

ROOT = Path(__file__).resolve().parents[2]
END = '<|endoftext|>'


@pytest.fixture(scope='module')
def qwen(tmp_path_factory) -> Path:
    """Folder of a random Qwen2: grouped queries, tied embeddings, byte-level BPE, no beginning-of-sequence token."""
    folder = tmp_path_factory.mktemp('qwen')
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [text for i in range(200) for text in SceneTextDataset(length=200)[i]['sample'].texts]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[END], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END).save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=544,  # 522 words: more rows than words, as Qwen has it
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, max_position_embeddings=2048,
        bos_token_id=None, eos_token_id=0)  # yapf: disable
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('lora', [False, True])
@pytest.mark.parametrize(
    'config, iters, metric',
    [('visionllm_tiny_scenes', 3, 'coco/bbox_mAP'), ('visionllm_tiny_scenes_stage2', 8, 'vqa/vqa/accuracy')],
)
def test_trains_the_tiny_scenes(qwen, tmp_path, config, iters, metric, lora):
    make_scenes(tmp_path / 'data/scenes', SceneSettings(train=8, val=2, seed=0, image_size=128))
    model = 'model.bbox_head.language_model'
    # The tiny config builds its language model from `config`; of one that names `pretrained`, that alone is swapped.
    options = [
        f'{model}.pretrained={qwen}', f'{model}.tokenizer=None', f'{model}.config=None',
        *(f'model{part}.init_cfg=None' for part in ('', '.backbone', '.neck', '.bbox_head')),
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0',
        'val_dataloader.persistent_workers=False', f'train_cfg.max_iters={iters}',
        f'train_cfg.val_interval={iters}', 'default_hooks.logger.interval=1',
        'param_scheduler.1.begin=1']  # yapf: disable
    if lora:
        options += [f'{model}.lora.r=4', f'{model}.lora.target_modules=all-linear']
    log = subprocess.run(
        [sys.executable, ROOT / 'tools/train.py', ROOT / f'configs/visionllm/{config}.py', '--work-dir',
         tmp_path / 'run', '--cfg-options', *options], cwd=tmp_path, text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1'},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # yapf: disable
    assert log.returncode == 0, log.stdout[-5000:]
    [scalars] = (tmp_path / 'run').glob('*/vis_data/scalars.json')
    *steps, metrics = map(json.loads, scalars.read_text().splitlines())
    assert len(steps) == iters
    assert all(step['loss'] < 1000 for step in steps)  # also false for nan
    assert metric in metrics
    if config.endswith('stage2'):
        assert 'loss_dec_text' in set().union(*steps)
