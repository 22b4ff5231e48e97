"""Objects in several passes, and instructions that are kept between images: the same answers for less."""

from copy import deepcopy

import pytest
import torch

from mmvisionllm.models.heads.prompt import embed_prefix

LATE = 'Please find <class> as <format> in <image>'


@pytest.fixture(scope='module')
def decoder(small, make):
    return make.enlarge(small.build(small.decoder()).eval())


@pytest.fixture(autouse=True)
def emptied(decoder):
    decoder.prefix_cache.clear()
    decoder.test_cfg['tokens_per_pass'] = 2048


def logits(decoded):
    return torch.cat([decoded.class_logits.flatten(1), decoded.point_logits.flatten(1)], 1)


@torch.no_grad()
def in_one_pass(decoder, tokens, instructions):
    """With gradients allowed nothing is split or kept; the model has none to give."""
    decoder.prefix_cache.clear()
    with torch.enable_grad():
        return logits(decoder(tokens, instructions)).detach()


def passes_of(decoder):
    """The sequence lengths of the language model's passes from now on."""
    lengths = []
    decoder.language_model.register_forward_pre_hook(lambda module, args: lengths.append(tuple(args[0].shape[:2])))
    return lengths


@pytest.mark.parametrize('bound', [1, 60, 130, 200, 2048, None])
@pytest.mark.parametrize('num_points', [2, 8])
def test_passes_under_a_bound_equal_one_pass(decoder, make, bound, num_points):
    tokens = make.image_tokens(num=9)
    instructions = [make.instruct(num_points), make.instruct(2, make.names[:2], LATE)]
    expected = in_one_pass(decoder, tokens, instructions)
    decoder.test_cfg['tokens_per_pass'] = bound
    lengths = passes_of(decoder)
    with torch.no_grad():
        found = logits(decoder(tokens, instructions))
    finite = expected.isfinite()
    assert torch.equal(finite, found.isfinite())
    assert (found - expected)[finite].abs().max() < 1e-5
    assert expected[finite].std() > 0.01
    size = 2 + 2 * num_points  # the object, its class, its points
    # The prefix is a pass of its own. But for one object of each image, no other is larger than the bound.
    if bound:
        assert all(b * n <= max(bound, b * size) for b, n in lengths[1:])
    assert (len(lengths) == 2) == (bound is None or 2 * 9 * size <= bound)
    total = sum(n for _, n in lengths)
    # Every position is computed once.
    prefix = embed_prefix(decoder.language_model, instructions, decoder.project(tokens))
    assert total == prefix.layout.prefix_length + 9 * size


@pytest.mark.parametrize('bound', [60, 2048])
@torch.no_grad()
def test_a_known_instruction_is_not_computed_again(decoder, make, bound):
    """Over three images, alone and in batches; the head of the prefix goes through the model once."""
    decoder.test_cfg['tokens_per_pass'] = bound
    cache = decoder.prefix_cache
    instruction = make.instruct(2, text=LATE)
    head = decoder.language_model.tokenizer.encode(LATE.split('<image>')[0], bos=True)
    batches = [make.image_tokens(1, seed=i) for i in (1, 2)] + [make.image_tokens(3, seed=4)]
    expected = [in_one_pass(decoder, t, [instruction] * len(t.embeddings)) for t in batches]
    lengths = passes_of(decoder)
    totals = []
    for tokens, one_pass in zip(batches, expected):
        lengths.clear()
        found = logits(decoder(tokens, [instruction] * len(tokens.embeddings)))
        totals.append(sum(n for _, n in lengths))
        assert (found - one_pass).abs().max() < 1e-5
    known = cache.head.get_seq_length()
    assert known > len(head)  # with the category set written out
    assert totals[1] == totals[2] == totals[0] - known


@torch.no_grad()
def test_images_of_different_instructions_share_nothing(decoder, make):
    instructions = [make.instruct(2, text=LATE), make.instruct(2, make.names[:3], LATE)]
    tokens = make.image_tokens(2)
    found = logits(decoder(tokens, instructions))
    assert decoder.prefix_cache.head is None
    expected = in_one_pass(decoder, tokens, instructions)
    finite = expected.isfinite()
    assert (found - expected)[finite].abs().max() < 1e-5
    for one in instructions:  # nor does the next one go on from the last
        expected = in_one_pass(decoder, tokens, [one] * 2)
        assert (logits(decoder(tokens, [one] * 2)) - expected).abs().max() < 1e-5
        assert decoder.prefix_cache.head is not None


@pytest.mark.parametrize('part', ['lm', 'added'])
@torch.no_grad()
def test_a_weight_that_is_written_to_is_noticed(decoder, make, part):
    """As by an optimizer's step in evaluation mode."""
    changed = deepcopy(decoder)
    tokens, instructions = make.image_tokens(1), [make.instruct(2, text=LATE)]
    before = logits(changed(tokens, instructions))
    assert changed.prefix_cache.head is not None
    module = getattr(changed.language_model, part)
    for parameter in module.parameters():
        parameter.mul_(1.1)
    after = logits(changed(tokens, instructions))
    assert (after - before).abs().max() > 1e-3
    assert (after - in_one_pass(changed, tokens, instructions)).abs().max() < 1e-5


@pytest.mark.parametrize('fused', [False, True])
def test_nothing_is_kept_over_a_training(decoder, make, fused):
    """Validation, training, validation: a fused optimizer does not mark what it writes to."""
    trained = deepcopy(decoder)
    tokens, instructions = make.image_tokens(1), [make.instruct(2, text=LATE)]
    optimizer = torch.optim.AdamW(trained.parameters(), lr=0.05, fused=fused)
    with torch.no_grad():
        before = logits(trained.eval()(tokens, instructions))
    trained.train()
    logits(trained(tokens, instructions)).square().mean().backward()
    optimizer.step()
    trained.eval()
    with torch.no_grad():
        after = logits(trained(tokens, instructions))
    assert (after - before).abs().max() > 1e-2
    assert (after - in_one_pass(trained, tokens, instructions)).abs().max() < 1e-4 * after.abs().max()


@torch.no_grad()
def test_a_copy_of_the_model_keeps_nothing_of_the_original(decoder, make):
    tokens, instructions = make.image_tokens(1), [make.instruct(2, text=LATE)]
    decoder(tokens, instructions)
    copied = deepcopy(decoder)
    for parameter in copied.language_model.parameters():
        parameter.mul_(1.1)
    found = logits(copied(tokens, instructions))
    assert (found - in_one_pass(copied, tokens, instructions)).abs().max() < 1e-5


def test_training_keeps_nothing_and_is_one_pass(decoder, make):
    decoder.test_cfg['tokens_per_pass'] = 1
    lengths = passes_of(decoder)
    tokens, instructions = make.image_tokens(1), [make.instruct(2, text=LATE)]
    decoder(tokens, instructions)
    assert len(lengths) == 1 and decoder.prefix_cache.head is None
    # Dropout would be frozen into what is kept.
    decoder.train()
    with torch.no_grad():
        decoder(tokens, instructions)
    decoder.eval()
    assert decoder.prefix_cache.head is None


@torch.no_grad()
def test_the_head_of_the_last_instruction_is_kept(decoder, make):
    cache = decoder.prefix_cache
    for names in (make.names, make.names[:2]):
        instruction = make.instruct(2, names, LATE)
        decoder(make.image_tokens(3), [instruction] * 3)
        head = embed_prefix(decoder.language_model, [instruction], None).head
        # 2 layers of keys and values of 2 heads with 8 channels, of one image.
        assert [layer.keys.shape for layer in cache.head.layers] == [(1, 2, len(head), 8)] * 2


@torch.no_grad()
def test_mixed_precision_is_kept_apart(decoder, make):
    tokens, instructions = make.image_tokens(1), [make.instruct(2, text=LATE)]
    cache = decoder.prefix_cache
    decoder(tokens, instructions)
    exact = cache.head.layers[0].values
    with torch.autocast('cpu', torch.bfloat16):
        decoder(tokens, instructions)
    assert cache.head.layers[0].values.dtype != exact.dtype
    decoder(tokens, instructions)
    torch.testing.assert_close(cache.head.layers[0].values, exact)
