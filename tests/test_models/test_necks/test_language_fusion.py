import torch

from mmvisionllm.models.necks.language_guided_tokenizer import LanguageFusion


def setup(**kwargs):
    torch.manual_seed(0)
    fusion = LanguageFusion(16, 24, num_heads=4, **kwargs)
    feature, language = torch.randn(2, 16, 5, 7), torch.randn(2, 6, 24)
    mask = torch.arange(6) < torch.tensor([[6], [3]])
    return fusion, feature, language, mask


def test_every_pixel_hears_the_words():
    fusion, feature, language, mask = setup()
    fused = fusion(feature, language, mask)
    assert fused.shape == feature.shape
    assert ((fused - feature).abs().amax(1) > 0).all()


def test_scale_of_zero_leaves_a_pretrained_detector_as_it_is():
    fusion, feature, language, mask = setup(layer_scale=0.0)
    assert torch.equal(fusion(feature, language, mask), feature)


def test_padding_is_not_heard():
    fusion, feature, language, mask = setup()
    fused = fusion(feature, language, mask)
    louder = language.clone()
    louder[1, 3:] = 100.0
    assert torch.equal(fusion(feature, louder, mask), fused)
    louder[1, :3] = 100.0
    changed = fusion(feature, louder, mask)
    assert torch.equal(changed[0], fused[0]) and not torch.allclose(changed[1], fused[1])


def test_order_of_words_is_up_to_the_text_encoder():
    fusion, feature, language, mask = setup()
    order = torch.tensor([2, 0, 1, 3, 4, 5])
    torch.testing.assert_close(fusion(feature, language[:, order], mask), fusion(feature, language, mask))


def test_pixels_are_fused_one_by_one():
    fusion, feature, language, mask = setup()
    fused = fusion(feature, language, mask)
    part = fusion(feature[:, :, 1:3, 2:6], language, mask)
    torch.testing.assert_close(part, fused[:, :, 1:3, 2:6])


def test_gradients_reach_image_language_and_weights():
    fusion, feature, language, mask = setup()
    feature.requires_grad_(), language.requires_grad_()
    fusion(feature, language, mask).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in fusion.parameters())
    assert feature.grad.abs().sum() > 0
    assert (language.grad.abs().sum(-1) > 0).equal(mask)
