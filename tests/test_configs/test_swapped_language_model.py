"""The paper's configs with another language model, swapped as a user does it: by one --cfg-options."""

import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from transformers import AutoConfig, AutoModel, AutoTokenizer

from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmvisionllm.instructions import Instruction

ROOT = Path(__file__).parents[2]
CONFIGS = [
    'visionllm_r50_alpaca-7b_stage1_32xb1-50e_coco.py',
    'visionllm_r50_alpaca-7b_stage2_32xb1-50e_multitask.py',
    'visionllm_internimage-t_alpaca-7b_stage1_32xb1-50e_coco.py',
]
OWN_TOKENIZER = str(ROOT / 'configs/_base_/tokenizers/scenes_coco')


@pytest.fixture(scope='module')
def bert(small, tmp_path_factory):
    """So that the other model that the configs fetch is not."""
    folder = tmp_path_factory.mktemp('bert')
    tokenizer = AutoTokenizer.from_pretrained(small.tokenizer)
    AutoModel.from_config(AutoConfig.for_model(**small.bert, vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope='module')
def build_config():
    """Function from a config's name and options to what ``tools/train.py`` trains."""
    spec = importlib.util.spec_from_file_location('train', ROOT / 'tools/train.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def build(name, *options):
        argv = [str(ROOT / 'configs/visionllm' / name), '--cfg-options', *options]
        return tool.build_config(tool.parse_args(argv))

    return build


def one_image():
    sample = DetDataSample(metainfo=dict(img_shape=(64, 64), batch_input_shape=(64, 64)))
    sample.gt_instances = InstanceData(bboxes=torch.tensor([[8.0, 8, 40, 60]]), labels=torch.tensor([1]))
    sample.instruction = Instruction.from_text('Find <class> in <image> as <format> within <range>', ['cat', 'dog'])
    return dict(inputs=[torch.zeros(3, 64, 64, dtype=torch.uint8)], data_samples=[sample])


@pytest.mark.parametrize('name', CONFIGS)
def test_one_option_swaps_the_language_model(build_config, llm_folder, bert, name):
    llm = llm_folder(model_type='qwen2', tie_word_embeddings=True, tokenizer=OWN_TOKENIZER, vocab_size=1728)
    cfg = build_config(
        name, f'model.bbox_head.language_model.pretrained={llm}', f'model.neck.text_encoder.pretrained={bert}'
    )
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    language_model = model.bbox_head.language_model
    assert type(language_model.lm).__name__ == 'Qwen2ForCausalLM'
    assert language_model.tokenizer.base_size > 1000  # of its own tokenizer
    assert {p.dtype for n, p in language_model.lm.named_parameters() if 'lora' not in n} == {torch.bfloat16}
    data = model.data_preprocessor(one_image(), training=True)
    model.parse_losses(model(**data, mode='loss'))[0].backward()
    trained = {n: p for n, p in language_model.lm.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 7 * 2 and all('.lora_' in name for name in trained)
    assert all(p.grad is not None for n, p in trained.items() if '.lora_B' in n)
    assert not [k for k in model.state_dict() if '.lm.' in k and '.lora_' not in k]


def test_a_path_that_is_not_there(build_config):
    cfg = build_config(CONFIGS[0], 'model.bbox_head.language_model.pretrained=/no/such/llm')
    init_default_scope('mmdet')
    with pytest.raises(FileNotFoundError, match="language model not found at '/no/such/llm'"):
        MODELS.build(cfg.model.bbox_head)
