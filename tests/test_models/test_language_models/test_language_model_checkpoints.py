"""A checkpoint belongs to one language model, and says so when it is loaded into another."""

import io

import pytest
import torch
from mmengine.runner import load_checkpoint, save_checkpoint


@pytest.fixture(scope='module')
def llama(small):
    return small.build(small.language_model()).eval()


def reload(model, other, strict):
    """Save a model as torch does, read it back as weights only, load it into another one."""
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    return other.load_state_dict(torch.load(file, weights_only=True), strict=strict)


def test_checkpoint_comes_back(small, llama):
    other = small.build(small.language_model(), seed=1)
    assert not torch.equal(other.added.input, llama.added.input)
    result = reload(llama, other, strict=True)
    assert not result.missing_keys and not result.unexpected_keys
    for name, weight in llama.state_dict().items():
        assert torch.equal(other.state_dict()[name], weight), name


OTHERS = {
    'hidden_size': dict(config__hidden_size=64),
    'num_hidden_layers': dict(config__num_hidden_layers=3),
    'model_type': dict(config__model_type='qwen2'),
    'num_bins': dict(num_bins=65),
}


@pytest.mark.parametrize('strict', [True, False])
@pytest.mark.parametrize('field', OTHERS)
def test_checkpoint_of_another_language_model(small, llama, field, strict):
    other = small.build(small.language_model(**OTHERS[field]))
    before = other.added.input.clone()
    with pytest.raises(ValueError, match=f'they differ in .*{field}') as error:
        reload(llama, other, strict)
    ours, theirs = other.signature()[field], llama.signature()[field]
    assert f'{field!r}: {ours!r}' in str(error.value)
    assert f'{field!r}: {theirs!r}' in str(error.value)
    assert torch.equal(other.added.input, before)


def test_vocabulary_of_another_size(small, llama, monkeypatch):
    other = small.build(small.language_model())
    monkeypatch.setattr(other.tokenizer, 'base_size', 32000)
    with pytest.raises(ValueError, match="'vocab_size': 1500.*'vocab_size': 32000.*differ in vocab_size"):
        reload(llama, other, strict=False)


def test_mmengine_does_not_swallow_another_language_model(small, tmp_path):
    holder = small.build(small.decoder())
    path = str(tmp_path / 'decoder.pth')
    save_checkpoint(dict(state_dict=holder.state_dict(), meta={}), path)
    load_checkpoint(holder, path, map_location='cpu', strict=False)
    other = small.build(small.decoder(language_model__config__hidden_size=64))
    with pytest.raises(ValueError, match="'hidden_size': 32.*'hidden_size': 64"):
        load_checkpoint(other, path, map_location='cpu', strict=False)
    pretrained = dict(type='Pretrained', checkpoint=path)
    with pytest.raises(ValueError, match='they differ in hidden_size'):
        small.build(small.decoder(language_model__config__hidden_size=64) | dict(init_cfg=pretrained))


def test_checkpoint_without_a_signature_is_told_by_its_shapes(small, llama, tmp_path):
    path = str(tmp_path / 'unsigned.pth')
    state = {k: v for k, v in llama.state_dict().items() if not k.endswith('_extra_state')}
    torch.save(state, path)
    same = small.build(small.language_model(), seed=1)
    load_checkpoint(same, path, strict=False)
    assert torch.equal(same.added.input, llama.added.input)
    other = small.build(small.language_model(num_bins=65))
    with pytest.raises(ValueError, match=r'has \(676, 32\) .* this language model has \(708, 32\)'):
        load_checkpoint(other, path, strict=False)
