import pytest
import torch

from mmvisionllm.models.language_models import SharedPrefixLayout

FAMILIES = {
    'llama': dict(model_type='llama', num_key_value_heads=4),
    'llama-gqa': dict(model_type='llama', num_key_value_heads=2),
    'llama-mqa': dict(model_type='llama', num_key_value_heads=1),
    'qwen2': dict(model_type='qwen2', num_key_value_heads=2),
    'mistral': dict(model_type='mistral', num_key_value_heads=2, sliding_window=40),
    'gpt2': dict(model_type='gpt2', n_embd=32, n_layer=2, n_head=4, n_positions=512),
}
TEXTS = (
    'Find {"star":<c0>,"heart":<c1>,"plus sign":<c2>} as (c, x1, y1, x2, y2) in <image>',
    '<image> Where? {"arrow":<c0>}',
    'Mark, within <p-16>..<p16>, each of {"a":<c0>,"b":<c1>}: <image>.',
)


def family_cfg(small, name):
    changes = FAMILIES[name]
    shared = {} if name == 'gpt2' else small.llama
    return small.language_model(config={**shared, **changes})


@pytest.fixture(scope='module', params=FAMILIES)
def model(request, small):
    model = small.build(family_cfg(small, request.param)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and 'added' not in name:
                # Large weights, so that who sees whom makes a difference well above rounding.
                parameter.normal_(std=0.3)
    return model


@pytest.fixture(scope='module')
def llama(small):
    return small.build(small.language_model()).eval()


def inputs(model, num_objects=5, object_size=5, num_tokens=6, texts=TEXTS):
    """Embeddings of a batch of ragged prefixes with objects behind them, and their layout."""
    generator = torch.Generator().manual_seed(1)
    image_id = model.tokenizer.image_id
    rows = []
    for text in texts:
        before, after = text.split('<image>')
        ids = [model.tokenizer.encode(part) for part in (before, after)]
        rows.append([*ids[0], *[image_id] * num_tokens, *ids[1]])
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    valid = torch.arange(length) < torch.tensor([[len(row)] for row in rows])
    is_image = ids == image_id
    image = torch.randn(*ids.shape, model.hidden_size, generator=generator)
    embedded = model.embed(ids)
    prefix = torch.where(is_image[..., None], image.to(embedded.dtype), embedded)
    shape = (len(rows), num_objects * object_size, model.hidden_size)
    objects = torch.randn(shape, generator=generator).to(embedded.dtype)
    layout = SharedPrefixLayout(valid, is_image, num_objects, object_size)
    return torch.cat([prefix, objects], 1), layout


def is_real(layout):
    extra = layout.num_objects * layout.object_size
    return torch.nn.functional.pad(layout.valid, (0, extra), value=True)


@pytest.mark.parametrize('object_size', [1, 5])
def test_shared_prefix_equals_dense_mask(model, object_size):
    embeddings, layout = inputs(model, object_size=object_size)
    assert len(set(layout.valid.sum(1).tolist())) == 3  # ragged
    with torch.no_grad():
        shared, dense = model(embeddings, layout), model.forward_dense(embeddings, layout)
    real = is_real(layout)
    assert shared.shape == embeddings.shape and dense[real].abs().mean() > 0.1
    assert (shared - dense)[real].abs().max() < 1e-4


def test_gradients_equal_those_of_the_dense_mask(model):
    embeddings, layout = inputs(model)
    embeddings = embeddings.detach().requires_grad_()
    real = is_real(layout)
    weights = [p for n, p in model.named_parameters() if n.startswith('lm.') and p.requires_grad]
    found = []
    for forward in (model.forward, model.forward_dense):
        loss = forward(embeddings, layout)[real].square().sum() / 100
        found.append(torch.autograd.grad(loss, [embeddings, *weights], allow_unused=True))
    compared = 0
    for ours, dense in zip(*found):
        if dense is None:
            assert ours is None
            continue
        # Relative to the largest entry: gradients differ by orders of magnitude between weights.
        assert (ours - dense).abs().max() <= 1e-4 * dense.abs().max().clamp(min=1)
        compared += 1
    assert compared > 10


def test_objects_do_not_see_one_another(model):
    embeddings, layout = inputs(model)
    length = layout.prefix_length
    with torch.no_grad():
        hidden = model(embeddings, layout)[:, length:].unflatten(1, (5, 5))
        order = torch.tensor([3, 0, 4, 2, 1])
        objects = embeddings[:, length:].unflatten(1, (5, 5))[:, order].flatten(1, 2)
        permuted = model(torch.cat([embeddings[:, :length], objects], 1), layout)
        torch.testing.assert_close(permuted[:, length:].unflatten(1, (5, 5)), hidden[:, order], rtol=1e-4, atol=1e-5)
        # One object alone gets the answer that it gets among the others.
        alone = SharedPrefixLayout(layout.valid, layout.is_image, 1, 5)
        single = model(embeddings[:, : length + 5], alone)[:, length:]
    torch.testing.assert_close(single, hidden[:, 0], rtol=1e-4, atol=1e-5)


def test_order_of_image_tokens_means_nothing(model):
    embeddings, layout = inputs(model)
    order = torch.tensor([5, 2, 0, 4, 1, 3])
    shuffled = embeddings.clone()
    for row, is_image in enumerate(layout.is_image):
        where = is_image.nonzero().flatten()
        shuffled[row, where] = embeddings[row, where[order]]
    length = layout.prefix_length
    with torch.no_grad():
        before, after = model(embeddings, layout), model(shuffled, layout)
    torch.testing.assert_close(after[:, length:], before[:, length:], rtol=1e-4, atol=1e-5)
    text = layout.valid & ~layout.is_image
    torch.testing.assert_close(after[:, :length][text], before[:, :length][text], rtol=1e-4, atol=1e-5)


def test_order_of_words_means_something(model):
    embeddings, layout = inputs(model)
    swapped = embeddings.clone()
    swapped[0, [1, 2]] = embeddings[0, [2, 1]]
    length = layout.prefix_length
    with torch.no_grad():
        before, after = model(embeddings, layout), model(swapped, layout)
    assert (before - after)[0, length:].abs().max() > 1e-3


def test_padding_of_a_batch_changes_nothing(model):
    embeddings, layout = inputs(model)
    length = layout.prefix_length
    with torch.no_grad():
        together = model(embeddings, layout)
        for row, count in enumerate(layout.valid.sum(1).tolist()):
            kept = [*range(count), *range(length, embeddings.size(1))]
            single = SharedPrefixLayout(layout.valid[row : row + 1, :count], layout.is_image[row : row + 1, :count], 5, 5)
            alone = model(embeddings[row : row + 1, kept], single)
            torch.testing.assert_close(alone[0], together[row, kept], rtol=1e-4, atol=1e-5)


def test_objects_see_instruction_image_and_their_own_queries(llama):
    embeddings, layout = inputs(llama, num_objects=2, object_size=3, texts=TEXTS[:1])
    length = layout.prefix_length
    embeddings = embeddings.detach().requires_grad_()
    hidden = llama(embeddings, layout)
    (grad,) = torch.autograd.grad(hidden[0, length + 4].sum(), embeddings)
    seen = grad[0].abs().sum(-1) > 0
    assert seen[:length].all()
    assert seen[length:].tolist() == [False, False, False, True, True, False]


def test_gradient_checkpointing_gives_the_same(small):
    plain, saving = (small.build(small.language_model(gradient_checkpointing=flag)).train() for flag in (False, True))
    grads = []
    for model in (plain, saving):
        embeddings, layout = inputs(model)
        loss = model(embeddings, layout)[is_real(layout)].square().mean()
        loss.backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert any(getattr(m, 'gradient_checkpointing', False) for m in saving.modules())
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad)


def test_bfloat16_weights_take_float32_images(small):
    model = small.build(small.language_model(torch_dtype='bfloat16')).eval()
    assert next(model.lm.parameters()).dtype == torch.bfloat16
    assert model.added.input.dtype == torch.float32
    embeddings, layout = inputs(model)
    assert embeddings.dtype == torch.bfloat16
    hidden = model(embeddings.float(), layout)
    dense = model.forward_dense(embeddings, layout)
    assert (hidden - dense)[is_real(layout)].abs().max() < 0.1
    assert model.added_logits(hidden, slice(0, 3)).dtype == torch.float32


def test_mixed_precision_equals_the_dense_mask(model):
    embeddings, layout = inputs(model)
    with torch.autocast('cpu', torch.bfloat16), torch.no_grad():
        shared, dense = model(embeddings, layout), model.forward_dense(embeddings, layout)
    difference = (shared.float() - dense.float())[is_real(layout)]
    assert difference.abs().mean() < 0.02 * dense.float().abs().mean()


def test_mixed_precision_scores_added_tokens_in_float32(llama):
    hidden = torch.randn(4, 32)
    with torch.autocast('cpu', torch.bfloat16):
        scores = llama.added_logits(hidden, slice(0, 33))
    assert torch.equal(scores, llama.added_logits(hidden, slice(0, 33)))


def test_embed_takes_added_tokens_from_their_own_table(llama):
    tokenizer = llama.tokenizer
    ids = torch.tensor(tokenizer.encode('find <c0><p3>'))
    embedded = llama.embed(ids)
    own = llama.lm.get_input_embeddings().weight
    added = llama.added.input
    is_word = ids < tokenizer.base_size
    assert is_word.any() and (~is_word).sum() == 2
    assert torch.equal(embedded[is_word], own[ids[is_word]])
    vocabulary = llama.vocabulary
    rows = [vocabulary.index('<c0>'), vocabulary.index('<p3>')]
    assert torch.equal(embedded[~is_word], added[rows])


def test_name_embeddings_are_means_of_words(llama):
    names = ['plus sign', 'star', 'two words more']
    expected = [llama.embed(torch.tensor(llama.tokenizer.encode(n))).mean(0) for n in names]
    torch.testing.assert_close(llama.name_embeddings(names), torch.stack(expected))


def test_text_loss_is_the_mean_next_token_loss(llama):
    texts = ['a star', 'find <c0> and the plus sign <p3>']
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([*llama.tokenizer.encode(text, bos=True), llama.tokenizer.eos_id])
        hidden = llama.lm.base_model(inputs_embeds=llama.embed(ids[None])).last_hidden_state
        scores = llama.vocabulary_logits(hidden[0]).log_softmax(-1)
        total -= scores[:-1].gather(1, ids[1:, None]).sum()
        count += len(ids) - 1
    torch.testing.assert_close(llama.text_loss(texts), total / count, rtol=1e-4, atol=1e-5)


def test_text_can_be_learned(small):
    model = small.build(small.language_model()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    texts = ['a star <c1>', 'a plus sign <c0>']
    for _ in range(40):
        optimizer.zero_grad()
        loss = model.text_loss(texts)
        loss.backward()
        optimizer.step()
    assert loss < 0.4  # which of the two texts it is cannot be known


def test_lora_trains_adapters_and_added_tokens_alone(small):
    model = small.build(small.language_model(lora=dict(r=2, target_modules='all-linear', init_lora_weights=True)))
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {'added.input', 'added.output'} < trained
    assert all('lora_' in name for name in trained - {'added.input', 'added.output'})
    plain = small.build(small.language_model())
    assert all(p.requires_grad for p in plain.parameters())
    frozen = small.build(small.language_model(frozen=True))
    assert {n for n, p in frozen.named_parameters() if p.requires_grad} == {'added.input', 'added.output'}


def test_lora_shared_prefix_equals_dense_mask(small):
    model = small.build(small.language_model(lora=dict(r=2, target_modules=['q_proj', 'v_proj'])))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'lora_' in name:
                parameter.normal_(std=0.3)
    embeddings, layout = inputs(model.eval())
    difference = model(embeddings, layout) - model.forward_dense(embeddings, layout)
    assert difference[is_real(layout)].abs().max() < 1e-4


def test_saved_model_is_loaded_from_its_folder(small, llama, tmp_path):
    llama.lm.save_pretrained(tmp_path)
    again = small.build(dict(type='LanguageModel', pretrained=str(tmp_path), tokenizer=small.tokenizer, num_bins=33))
    for name, weight in llama.lm.state_dict().items():
        assert torch.equal(again.lm.state_dict()[name], weight)


# ------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize('dtype', ['float23', 'int8', 'Tensor', 'bool', 16, None])
def test_dtype_that_torch_does_not_have(small, dtype):
    with pytest.raises(ValueError, match=f"torch_dtype must name .*'bfloat16', got {dtype!r}"):
        small.build(small.language_model(torch_dtype=dtype))


@pytest.mark.parametrize('path', ['/nowhere/llama-7b', './nowhere', 'weights/of/alpaca'])
def test_missing_language_model_names_the_path(small, path):
    with pytest.raises(FileNotFoundError, match=f"language model not found at '{path}'.*save_pretrained"):
        small.build(dict(type='LanguageModel', pretrained=path, tokenizer=small.tokenizer))
    with pytest.raises(FileNotFoundError, match=f"tokenizer not found at '{path}'"):
        small.build(small.language_model(tokenizer=path))


def test_neither_weights_nor_config(small):
    with pytest.raises(ValueError, match='needs `pretrained` .* or `config`'):
        small.build(dict(type='LanguageModel', tokenizer=small.tokenizer))
    with pytest.raises(ValueError, match='built from `config` needs `tokenizer`'):
        small.build(dict(type='LanguageModel', config=small.llama))


def test_tokenizer_of_a_larger_vocabulary(small):
    with pytest.raises(ValueError, match='10 embedding rows, but its tokenizer knows 1500'):
        small.build(small.language_model(config__vocab_size=10))
