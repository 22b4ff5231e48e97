"""The paper's ResNet-50 and a LLaMA-7B on one machine: training steps, checkpoint, exact resume, prediction, memory.

    python benchmarks/seven_b_on_one_machine.py [--config CONFIG] [--layers 32] [--size 800 1067] [--work-dir DIR]

Weights are random: the language model's are written layer by layer into a Hugging Face folder (13.5 GB in bfloat16; it
is kept, and used again by the next run), from where the config loads them as it would load Alpaca's; the text encoder's
likewise. Everything else is the config's, by default that for one card: LoRA, gradient checkpointing, optimizer, 100
image tokens, all 80 categories in the instruction; but each iteration is a step. The image is noise with ``--objects``
boxes, of the size given, by default that of COCO's usual 640 x 480 with its shorter side brought to 800.

Two processes: one trains two steps and saves behind each; the other starts from the first checkpoint, takes the second
step again and predicts. Losses must be equal to the last digit. Peak memory: of the resident size as Linux has it, with
pages of the language model's files that are only mapped, and without them (sampled twice a second); on a GPU what
torch has allocated. ``--layers 2`` makes a small run of the same width. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.runner import Runner
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

import mmvisionllm  # noqa: F401  (registers the modules)
from mmdet.registry import HOOKS
from mmvisionllm.datasets.category_names import category_names
from mmvisionllm.utils import allow_mmengine_checkpoints
from mmvisionllm.utils.checkpoint import read_checkpoint

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/visionllm/visionllm_r50_alpaca-7b_stage1_1xb1-12e_coco.py'
TOKENIZERS = ROOT / 'configs/_base_/tokenizers'


def make_language_model(folder: Path, fields: dict[str, Any]) -> None:
    """Write a model of random bfloat16 weights without ever holding more than a layer, and a tokenizer of its size."""
    config = AutoConfig.for_model(**fields, bos_token_id=1, eos_token_id=2)
    config.architectures = ['LlamaForCausalLM']
    with torch.device('meta'):
        shapes = {k: v.shape for k, v in AutoModelForCausalLM.from_config(config).state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, list[str]] = {}
    for name in shapes:
        parts = name.split('.')
        place = f'layer-{parts[2]}' if parts[1] == 'layers' else name.replace('.', '-')
        files.setdefault(f'{place}.safetensors', []).append(name)
    torch.manual_seed(0)
    for file, names in files.items():
        tensors = {}
        for name in names:
            weight = torch.empty(shapes[name], dtype=torch.bfloat16)
            tensors[name] = weight.fill_(1) if weight.dim() == 1 else weight.normal_(std=0.02)
        save_file(tensors, folder / file, metadata=dict(format='pt'))
    index = {name: file for file, names in files.items() for name in names}
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / 'scenes_coco')
    tokenizer.add_tokens([f'[unused{i}]' for i in range(fields['vocab_size'] - len(tokenizer))])
    tokenizer.save_pretrained(folder)
    GenerationConfig().save_pretrained(folder)
    (folder / 'model.safetensors.index.json').write_text(json.dumps(dict(metadata={}, weight_map=index)))
    config.dtype = torch.bfloat16
    config.save_pretrained(folder)  # last: with it, the folder is complete


def make_text_encoder(folder: Path, fields: dict[str, Any]) -> None:
    """Write a text encoder of random weights and a tokenizer."""
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(**fields)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(TOKENIZERS / 'scenes_coco').save_pretrained(folder)


def make_data(folder: Path, size: tuple[int, int], objects: int) -> None:
    """One image of noise in COCO's format."""
    height, width = size
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / 'noise.png'), rng.integers(0, 255, (height, width, 3), np.uint8))
    names = category_names('coco')
    annotations = []
    for i in range(objects):
        x, y = rng.uniform(0, width * 0.7), rng.uniform(0, height * 0.7)
        w, h = rng.uniform(16, width * 0.3), rng.uniform(16, height * 0.3)
        category = int(rng.integers(len(names))) + 1
        box = dict(id=i + 1, image_id=1, category_id=category, bbox=[x, y, w, h], area=w * h, iscrowd=0)
        annotations.append(box)
    document = dict(
        images=[dict(id=1, file_name='noise.png', height=height, width=width)],
        annotations=annotations,
        categories=[dict(id=i, name=name) for i, name in enumerate(names, 1)],
    )
    (folder / 'instances.json').write_text(json.dumps(document))


def language_model_fields(cfg: Config, args: argparse.Namespace) -> dict[str, Any]:
    return {**cfg.architectures.LanguageModel, 'num_hidden_layers': args.layers}


def make_config(args: argparse.Namespace, resume: bool) -> Config:
    """The paper's stage 1 on the image, for two steps, with all weights from here."""
    cfg = Config.fromfile(args.config)
    cfg.work_dir = str(args.work_dir / 'run')
    cfg.model.init_cfg = cfg.model.backbone.init_cfg = None
    cfg.model.neck.text_encoder.pretrained = str(args.work_dir / 'text-encoder')
    cfg.model.bbox_head.language_model.pretrained = str(args.work_dir / f'llm-{args.layers}')
    pipeline = cfg.test_pipeline
    pipeline[1].scale = (max(args.size), min(args.size))
    data = dict(
        type='CheckedCocoDataset',
        data_root=str(args.work_dir / 'data'),
        ann_file='instances.json',
        data_prefix=dict(img=''),
        pipeline=pipeline,
    )
    cfg.train_dataloader = dict(
        batch_size=1,
        num_workers=0,
        sampler=dict(type='SeededInfiniteSampler'),
        dataset=dict(type='SeededDataset', dataset=data),
    )
    for name in ('val', 'test'):
        for part in ('dataloader', 'evaluator', 'cfg'):
            cfg[f'{name}_{part}'] = None
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
    cfg.optim_wrapper.accumulative_counts = 1  # each iteration is a step
    cfg.param_scheduler = []
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=1)
    cfg.default_hooks.logger.interval = 1
    cfg.log_processor = dict(by_epoch=False)
    cfg.custom_hooks = [dict(type='KeepLosses')]
    if resume:
        cfg.resume, cfg.load_from = True, f'{cfg.work_dir}/iter_1.pth'
    return cfg


@HOOKS.register_module()
class KeepLosses(Hook):
    """Losses in full precision and times of the steps."""

    kept: list[dict[str, Any]] = []

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self.start = time.perf_counter()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        loss = outputs['loss'].item()
        seconds = time.perf_counter() - self.start
        self.kept.append(dict(iter=runner.iter, loss=loss, seconds=round(seconds, 3)))


class Memory(threading.Thread):
    """Highest anonymous resident size of this process, sampled."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.anonymous = 0

    def run(self) -> None:
        while True:
            self.anonymous = max(self.anonymous, _status('RssAnon'))
            time.sleep(0.5)

    def peaks(self) -> dict[str, float]:
        """In GB (1e9 bytes)."""
        found = dict(resident=_status('VmHWM'), without_mapped_files=self.anonymous)
        if torch.cuda.is_available():
            found['gpu'] = torch.cuda.max_memory_allocated()
        return {name: round(size / 1e9, 3) for name, size in found.items()}


def _status(field: str) -> int:
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f'/proc/self/status has no {field}')


def sizes(path: Path) -> dict[str, float]:
    """MB (1e6 bytes) of a checkpoint and of what it holds."""
    checkpoint = read_checkpoint(str(path), 'cpu')
    parts = dict(language_model=0, rest_of_decoder=0, tokenizer_and_backbone=0, optimizer=0)
    for key, value in checkpoint['state_dict'].items():
        part = 'tokenizer_and_backbone'
        if key.startswith('bbox_head.'):
            inside = key.startswith('bbox_head.language_model.')
            part = 'language_model' if inside else 'rest_of_decoder'
        parts[part] += value.nbytes
    for state in checkpoint['optimizer']['state'].values():
        parts['optimizer'] += sum(t.nbytes for t in state.values() if torch.is_tensor(t))
    mb = {name: round(size / 1e6, 1) for name, size in parts.items()}
    return dict(file=round(path.stat().st_size / 1e6, 1), **mb)


def work(args: argparse.Namespace) -> dict[str, Any]:
    """What one of the two processes does."""
    memory = Memory()
    memory.start()
    allow_mmengine_checkpoints()
    start = time.perf_counter()
    runner = Runner.from_cfg(make_config(args, resume=args.process == 'resume'))
    build = time.perf_counter() - start
    runner.train()
    result = dict(build_seconds=round(build, 1), steps=KeepLosses.kept, peak_gb=memory.peaks())
    if args.process == 'resume':
        model = runner.model.eval()
        batch = [runner.train_dataloader.dataset.dataset[0]]
        batch = {key: [sample[key] for sample in batch] for key in batch[0]}
        start = time.perf_counter()
        with torch.no_grad():
            boxes = len(model.test_step(batch)[0].pred_instances)
        seconds = time.perf_counter() - start
        result.update(predict_seconds=round(seconds, 3), boxes=boxes, peak_gb=memory.peaks())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', type=Path, default=CONFIG)
    parser.add_argument('--layers', type=int, default=32)
    parser.add_argument('--size', type=int, nargs=2, default=(800, 1067), metavar=('H', 'W'))
    parser.add_argument('--objects', type=int, default=10)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/seven_b'))
    parser.add_argument('--process', choices=('train', 'resume'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.work_dir = args.work_dir.resolve()
    if args.process:
        print(json.dumps(work(args)))
        return
    folder = args.work_dir / f'llm-{args.layers}'
    cfg = Config.fromfile(args.config)
    fields = language_model_fields(cfg, args)
    if not (folder / 'config.json').is_file():
        make_language_model(folder, fields)
    make_text_encoder(args.work_dir / 'text-encoder', cfg.architectures.TextEncoder.to_dict())
    make_data(args.work_dir / 'data', args.size, args.objects)
    results: dict[str, Any] = dict(
        device=get_device(), layers=args.layers, size=list(args.size), objects=args.objects,
        threads=torch.get_num_threads(),
    )  # fmt: skip
    for process in ('train', 'resume'):
        command = [sys.executable, __file__, *sys.argv[1:], '--process', process]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f'{process} failed with exit status {done.returncode}\n{done.stdout[-3000:]}')
        results[process] = json.loads(done.stdout.splitlines()[-1])
        if process == 'train':
            results['checkpoint_mb'] = sizes(args.work_dir / 'run/iter_1.pth')
        for step in results[process]['steps']:
            print(f'{process}: step {step["iter"]}, loss {step["loss"]:.4f}, {step["seconds"]:.1f} s')
        print(f'{process}: peak memory in GB {results[process]["peak_gb"]}')
    same = results['train']['steps'][1]['loss'] == results['resume']['steps'][0]['loss']
    results['resumes_exactly'] = same
    print(f'checkpoint in MB: {results["checkpoint_mb"]}')
    print(f'predicted {results["resume"]["boxes"]} boxes in {results["resume"]["predict_seconds"]} s')
    print(f'the second step from the checkpoint has {"the same" if same else "another"} loss')
    print(json.dumps(results))


if __name__ == '__main__':
    main()
