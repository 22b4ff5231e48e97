"""All tasks with a language model as the paper's: frozen, in bfloat16, with LoRA, activations computed again."""

import pytest
import torch
from mmengine.structures import InstanceData

from mmvisionllm.models.heads.prompt import embed_prefix

LORA = dict(r=4, lora_alpha=8, target_modules='all-linear')
ANSWERS = (['a star'], ['two hearts', 'and what else?', 'a plus sign'])


def build(small, make, std=0.2, **language_model):
    """LoRA's second factors and the projector's last layer are zeros at first; here they have been trained."""
    language_model = {'lora': LORA, **language_model}
    cfg = small.decoder(language_model=small.language_model(**language_model), format_parser=dict(num_samples=8))
    decoder = make.enlarge(small.build(cfg), std)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if 'lora_B' in name or name.startswith('projector.mlp'):
                parameter.normal_(std=0.1, generator=generator)
    return decoder


def losses_of(decoder, make):
    """One image asked for boxes, one for polygons, two for texts; and the gradients of what is trained."""
    tokens, sets = make.image_tokens(4), [make.instruct(2), make.instruct(8)]
    objects = [
        InstanceData(
            bboxes=torch.tensor([[8.0, 8, 40, 48], [30, 20, 60, 60]]),
            labels=torch.tensor([0, 30]),
            points=torch.rand(2, 8, 2, generator=torch.Generator().manual_seed(i)) * 64,
        )
        for i in range(2)
    ]
    matches = [(torch.tensor([4, 1]), torch.tensor([0, 1]))] * 2
    metas = [dict(img_shape=(64, 64))] * 2
    texts = [make.question(), make.question('<image> And this?')]
    losses = decoder.loss(tokens.select([0, 1]), sets, objects, matches, metas)
    losses |= decoder.text_loss(tokens.select([2, 3]), texts, ANSWERS)
    losses |= decoder.format_loss(sets + texts)
    decoder.zero_grad()
    sum(losses.values()).backward()
    trained = {n: p.grad for n, p in decoder.named_parameters() if p.requires_grad}
    return {key: value.detach() for key, value in losses.items()}, trained


@pytest.fixture(scope='module')
def paper(small, make):
    return build(small, make, torch_dtype='bfloat16', gradient_checkpointing=True)


def test_every_loss_trains_lora_and_what_is_ours_and_nothing_else(paper, make):
    paper.train()
    losses, grads = losses_of(paper, make)
    assert set(losses) == {'loss_dec_cls', 'loss_dec_loc', 'loss_dec_text', 'loss_dec_format'}
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    frozen = [p for p in paper.language_model.lm.parameters() if not p.requires_grad]
    assert frozen and all(p.dtype == torch.bfloat16 and p.grad is None for p in frozen)
    without = {name for name, grad in grads.items() if grad is None or not grad.any()}
    assert not without and any('.lora_A.' in name for name in grads)
    assert all(grad.dtype == torch.float32 and grad.isfinite().all() for grad in grads.values())


def test_rounded_weights_change_the_losses_by_rounding_alone(paper, small, make):
    exact, _ = losses_of(build(small, make).eval(), make)
    rounded, _ = losses_of(paper.eval(), make)
    for key, loss in exact.items():
        torch.testing.assert_close(rounded[key], loss, rtol=0.05, atol=0.05)


def test_activations_computed_again_are_the_same(small, make):
    """In training, that is; dropout is off."""
    made = [losses_of(build(small, make, gradient_checkpointing=again).train(), make) for again in (True, False)]
    for again, kept in zip(*made):
        torch.testing.assert_close(again, kept, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_texts_are_greedy_decoding_in_bfloat16_too(paper, make, monkeypatch):
    """A whole pass rounds in other places than one with a cache: each word is as good as the best, up to that."""
    model, tokens = paper.eval().language_model, make.image_tokens(3)
    questions = [make.question(t) for t in ('Describe <image>, please.', '<image>', '<image>?')]
    monkeypatch.setattr(model.tokenizer, 'decode_words', list)
    answers = paper.generate(tokens, questions)
    end = model.tokenizer.eos_id
    for i, ids in enumerate(answers):
        ids = ids[: ids.index(end) + 1] if end in ids else ids
        before = [model.tokenizer.start_id, *ids[:-1]]
        image = paper.project(tokens.select([i]))
        prefix = embed_prefix(model, questions[i : i + 1], image, [before])
        scores = model.word_logits(model(prefix.embeddings, prefix.layout)[0, -len(ids) :])
        chosen = scores.gather(-1, torch.tensor(ids)[:, None])[:, 0]
        assert len(set(ids)) > 3 and (scores.amax(-1) - chosen).max() < 0.1 * scores.std()
    assert len({tuple(ids) for ids in answers}) == 3


@torch.no_grad()
def test_adapters_have_a_say_in_texts_and_formats(small, make):
    decoder = build(small, make, std=0.5).eval()
    tokens, questions = make.image_tokens(), [make.question()] * 2
    texts = decoder.generate(tokens, questions)
    formats = decoder.format_loss([make.instruct(2), make.instruct(8)])['loss_dec_format']
    for name, parameter in decoder.named_parameters():
        if 'lora_B' in name:
            parameter.zero_()
    assert decoder.generate(tokens, questions) != texts
    other = decoder.format_loss([make.instruct(2), make.instruct(8)])['loss_dec_format']
    assert (other - formats).abs() > 0.01
