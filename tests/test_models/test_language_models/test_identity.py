"""Checkpoints hold no frozen weights that come from files, and know whose they were."""

import copy

import pytest
import torch
from mmengine.runner import load_checkpoint, save_checkpoint

LORA = dict(r=4, lora_alpha=8, target_modules='all-linear')


@pytest.fixture(scope='module')
def folder(llm_folder):
    return str(llm_folder())


def build(small, folder, seed=0, **kwargs):
    cfg = dict(type='LanguageModel', pretrained=folder, num_bins=33, **{'lora': LORA, **kwargs})
    return small.build(cfg, seed)


@torch.no_grad()
def trained(model):
    """As training would have changed it."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.normal_(std=0.1)
    return model


def own(model):
    return {key for key in model.state_dict() if key.startswith('lm.')}


def test_what_is_saved(small, folder):
    whole = {f'lm.{name}' for name, _ in build(small, folder).lm.named_parameters()}
    lora = {name for name in whole if '.lora_' in name}
    assert own(build(small, folder)) == lora
    assert own(build(small, folder, lora=None)) == set()  # frozen, unless it is told to train
    everything = {name.replace('.base_layer', '') for name in whole - lora}
    assert own(build(small, folder, lora=None, frozen=False)) == everything
    # Built from a config, frozen weights exist nowhere else.
    made = small.build(small.language_model(lora=LORA))
    assert own(made) == {f'lm.{name}' for name, _ in made.lm.named_parameters()}
    # Under a prefix, and nothing beside the language model.
    holder = torch.nn.ModuleDict(dict(head=build(small, folder), lm=torch.nn.Linear(1, 1)))
    names = holder.state_dict().keys()
    assert {'lm.weight', 'lm.bias', 'head.added.input'} <= names
    assert {name for name in names if name.startswith('head.lm.')} == {f'head.{n}' for n in lora}


def test_comes_back_on_the_same_files(small, folder, tmp_path, capfd):
    model = torch.nn.ModuleDict(dict(head=trained(build(small, folder))))
    path = str(tmp_path / 'a.pth')
    save_checkpoint(dict(state_dict=model.state_dict()), path)
    other = torch.nn.ModuleDict(dict(head=build(small, folder, seed=1)))
    capfd.readouterr()
    load_checkpoint(other, path, strict=True)
    assert 'missing' not in ''.join(capfd.readouterr())
    for (name, ours), theirs in zip(other.named_parameters(), model.parameters()):
        assert torch.equal(ours, theirs), name
    other = torch.nn.ModuleDict(dict(head=build(small, folder, seed=1)))
    result = other.load_state_dict(model.state_dict(), strict=True)
    assert not result.missing_keys and not result.unexpected_keys


def test_a_copy_is_as_good(small, folder):
    model = copy.deepcopy(build(small, folder))
    assert own(model) == own(build(small, folder))
    assert not model.load_state_dict(model.state_dict()).missing_keys


def test_missing_adapters_are_still_missing(small, folder):
    state = build(small, folder).state_dict()
    key = next(key for key in state if '.lora_A' in key)
    del state[key]
    assert build(small, folder).load_state_dict(state, strict=False).missing_keys == [key]


def test_whole_checkpoints_load_as_ever(small, folder):
    model = build(small, folder)
    state = {**model.state_dict(), **{f'lm.{k}': v for k, v in model.lm.state_dict().items()}}
    result = build(small, folder, seed=1).load_state_dict(state, strict=True)
    assert not result.missing_keys and not result.unexpected_keys


@pytest.mark.parametrize('changes', [dict(seed=1), dict(seed=0, fine_tuned=True)], ids=str)
def test_another_model_of_the_same_sizes(small, folder, llm_folder, changes):
    other = str(llm_folder(seed=changes['seed'] if 'fine_tuned' not in changes else 0))
    if 'fine_tuned' in changes:
        from transformers import AutoModelForCausalLM

        tuned = AutoModelForCausalLM.from_pretrained(other)
        with torch.no_grad():
            for parameter in tuned.parameters():  # a few steps of AdamW
                parameter += 1e-2 * torch.randn_like(parameter).sign()
        tuned.save_pretrained(other)
    state = build(small, folder).state_dict()
    with pytest.raises(ValueError) as error:
        build(small, other).load_state_dict(state, strict=False)
    assert f'trained on the frozen weights of {folder!r}' in str(error.value)
    assert f'those of {other!r}' in str(error.value)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_the_same_model_elsewhere_and_in_another_type(small, folder, llm_folder, dtype):
    copied = str(llm_folder())  # the same seed in another folder
    state = build(small, folder).state_dict()
    assert not build(small, copied, torch_dtype=dtype).load_state_dict(state).missing_keys


def test_the_name_of_the_other_model_is_told(small, folder, llm_folder):
    other = str(llm_folder(hidden_size=64))
    with pytest.raises(
        ValueError, match=f"hidden_size': 64.*'name': '{other}'.*'name': '{folder}'.*differ in hidden_size"
    ):
        build(small, folder).load_state_dict(build(small, other).state_dict(), strict=False)
