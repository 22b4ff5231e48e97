import pytest
import torch

from mmvisionllm.models.language_models.identity import fingerprint

TEXTS = ['find the star', 'find every heart and every plus sign in the picture', 'find the star']


def cfg(small, **changes):
    return {**dict(type='TextEncoder', tokenizer=small.tokenizer, config=small.bert), **changes}


@pytest.fixture(scope='module')
def encoder(small):
    return small.build(cfg(small)).eval()


def test_one_feature_per_word_piece(encoder):
    features, mask = encoder(TEXTS)
    counts = [len(encoder.tokenizer(text)['input_ids']) for text in TEXTS]
    assert encoder.embed_dims == 32
    assert features.shape == (3, max(counts), 32)
    assert mask.dtype == torch.bool and mask.sum(1).tolist() == counts


def test_equal_texts_have_equal_features(encoder):
    features, _ = encoder(TEXTS)
    assert torch.equal(features[0], features[2])
    assert not torch.allclose(features[0, 0], features[1, 0])


def test_padding_does_not_change_a_text(encoder):
    features, mask = encoder(TEXTS)
    alone, _ = encoder(TEXTS[:1])
    torch.testing.assert_close(features[0][mask[0]], alone[0])


def test_gradients_follow_the_switch(small):
    for frozen in (False, True):
        encoder = small.build(cfg(small, frozen=frozen))
        features, _ = encoder(TEXTS)
        assert features.requires_grad is not frozen
        assert any(p.requires_grad for p in encoder.parameters()) is not frozen


def test_frozen_encoder_says_the_same_in_training(small):
    frozen = small.build(cfg(small, frozen=True)).train()
    assert torch.equal(frozen(TEXTS)[0], frozen(TEXTS)[0])
    trained = small.build(cfg(small)).train()  # BERT's dropout
    assert not torch.equal(trained(TEXTS)[0], trained(TEXTS)[0])


def test_every_trained_weight_gets_a_gradient(small):
    encoder = small.build(cfg(small)).train()
    encoder(TEXTS)[0].square().sum().backward()
    # Distributed training waits for the gradient of every weight.
    assert [n for n, p in encoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(('max_length', 'positions', 'kept'), [(7, 512, 7), (512, 20, 20)])
def test_long_texts_are_cut_off(small, max_length, positions, kept):
    config = {**small.bert, 'max_position_embeddings': positions}
    encoder = small.build(cfg(small, max_length=max_length, config=config))
    with pytest.warns(UserWarning, match=f'word pieces, of which the text encoder reads the first {kept}: offer fewer'):
        features, mask = encoder(['star ' * 600])
    assert features.shape[1] == kept and mask.all()


def test_saved_encoder_is_loaded_from_its_folder(small, encoder, tmp_path):
    encoder.model.save_pretrained(tmp_path)
    encoder.tokenizer.save_pretrained(tmp_path)
    again = small.build(dict(type='TextEncoder', pretrained=str(tmp_path))).eval()
    torch.testing.assert_close(again(TEXTS)[0], encoder(TEXTS)[0])


def test_mistakes(small):
    with pytest.raises(FileNotFoundError, match="text encoder not found at '/no/bert'"):
        small.build(dict(type='TextEncoder', pretrained='/no/bert', tokenizer=small.tokenizer))
    with pytest.raises(FileNotFoundError, match="tokenizer not found at '/no/bert'"):
        small.build(dict(type='TextEncoder', pretrained='/no/bert'))
    with pytest.raises(ValueError, match='needs `pretrained` .* or `config`'):
        small.build(dict(type='TextEncoder', tokenizer=small.tokenizer))
    with pytest.raises(ValueError, match='needs `tokenizer`'):
        small.build(dict(type='TextEncoder', config=small.bert))


LORA = dict(r=2, target_modules='all-linear')


@pytest.fixture(scope='module')
def folder(small, tmp_path_factory):
    """A text encoder's files."""
    path = tmp_path_factory.mktemp('bert')
    encoder = small.build(cfg(small))
    encoder.model.save_pretrained(path)
    encoder.tokenizer.save_pretrained(path)
    return str(path)


def from_folder(small, folder, **changes):
    return small.build(dict(type='TextEncoder', pretrained=folder, **changes))


def test_lora_trains_and_nothing_else(small, folder):
    encoder = from_folder(small, folder, lora=LORA).train()
    names = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert names and all('.lora_' in name for name in names)
    encoder(TEXTS)[0].square().sum().backward()
    assert {name for name, p in encoder.named_parameters() if p.grad is not None} == names
    whole = from_folder(small, folder, lora=LORA, frozen=False)
    assert all(p.requires_grad for p in whole.parameters())
    with pytest.raises(ValueError, match='rank'):
        from_folder(small, folder, lora=dict(rank=2))


def test_checkpoints_leave_frozen_weights_out(small, folder):
    encoder = from_folder(small, folder, lora=LORA).eval()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if '.lora_' in name:
                parameter.normal_(std=0.1)
    state = encoder.state_dict()
    assert all('.lora_' in key for key in state if key.startswith('model.'))
    again = from_folder(small, folder, lora=LORA).eval()
    assert not torch.equal(again(TEXTS)[0], encoder(TEXTS)[0])
    again.load_state_dict(state)
    assert torch.equal(again(TEXTS)[0], encoder(TEXTS)[0])
    assert not [k for k in from_folder(small, folder, frozen=True).state_dict() if 'model.' in k]
    trained = from_folder(small, folder).state_dict()
    assert {k for k in trained if k.startswith('model.')} == {
        f'model.{name}' for name, _ in from_folder(small, folder).model.named_parameters()
    }


def test_checkpoint_of_another_text_encoder(small, folder):
    encoder = from_folder(small, folder, frozen=True)
    state = encoder.state_dict()
    other = small.build(cfg(small), seed=5)
    with pytest.raises(ValueError, match='text encoder.*hidden_size'):
        small.build(cfg(small, config={**small.bert, 'hidden_size': 64})).load_state_dict(state)
    other.fingerprint = fingerprint(other.model, len(other.tokenizer))
    with pytest.raises(ValueError, match='text_encoder.pretrained'):
        other.load_state_dict(state, strict=False)
