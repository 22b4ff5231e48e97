# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Text pretraining in two processes, whose samples differ in what there is to learn from."""

import torch
from many_processes import train_together
from mmengine.config import Config
from small_training import CONFIG


def pretraining_config(work_dir, lookup_accuracy):
    cfg = Config.fromfile(CONFIG.with_name('llm_tiny_scenes_expressions.py'))
    cfg.merge_from_dict(dict(model=dict(lookup_accuracy=lookup_accuracy, text_samples=1)))
    cfg.model.bbox_head.init_cfg = None
    cfg.model.bbox_head.language_model.config.update(hidden_size=64, num_hidden_layers=1, intermediate_size=64)
    cfg.train_dataloader.update(batch_size=1, num_workers=0, persistent_workers=False)
    # Some samples have questions, some captions, some formats, some none of them.
    cfg.train_dataloader.dataset.update(length=16, lookups=0.5, questioned=0.5, num_objects=4)
    cfg.train_cfg.max_iters = 8
    cfg.param_scheduler = []
    cfg.default_hooks.checkpoint.update(interval=8)
    cfg.custom_hooks = [dict(type='MeanLossLog')]
    cfg.work_dir = str(work_dir)
    return cfg


def test_processes_compute_the_same_losses(tmp_path):
    """Were it not so, they would wait for one another forever."""
    losses = train_together(pretraining_config(tmp_path, 0.0), 2)
    kinds = {'loss_text', 'loss_answer', 'loss_dec_format'}
    assert len(losses) == 8 and kinds == set().union(*losses) & kinds
    assert any(kinds - set(step) for step in losses)


def test_processes_go_on_to_the_next_step_together(tmp_path):
    """One of them has names right before the other one, and then what is asked for in the next step differs."""
    losses = train_together(pretraining_config(tmp_path, 0.02), 2)
    learned = ['loss_dec_loc' in step for step in losses]
    assert learned == sorted(learned) and not learned[0] and learned[-1]
    # The buffers are the same in all processes, or a resumed training would differ: the checkpoint is the first one's.
    state = torch.load(tmp_path / 'iter_8.pth', weights_only=False)['state_dict']
    assert state['can_look_up'] and 0 < state['accuracy'] <= 1
