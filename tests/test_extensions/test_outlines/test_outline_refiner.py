import pytest
import torch
from mmengine.structures import InstanceData
from torch.nn import functional as F

from mmdet.structures import DetDataSample
from mmvisionllm.extensions.outlines.descriptors import ellipse_descriptors, outline_waves
from mmvisionllm.extensions.outlines.outline_refiner import OutlineRefiner
from mmvisionllm.extensions.outlines.structures import OutlineTokens
from mmvisionllm.instructions import Instruction

CLOSE = dict(rtol=0, atol=1e-5)
META = dict(img_shape=(64, 64))


def refiner(**changes):
    torch.manual_seed(0)
    return OutlineRefiner(**{**dict(embed_dims=8, num_harmonics=4, num_steps=2, hidden_dims=16), **changes})


def image_tokens(number=5, batch=2, **changes):
    generator = torch.Generator().manual_seed(1)

    def random(*size):
        return torch.rand(*size, generator=generator)

    return OutlineTokens(
        **{
            **dict(
                embeddings=random(batch, number, 8),
                locations=0.3 + 0.4 * random(batch, number, 2),
                objectness=random(batch, number),
                extents=0.1 + 0.4 * random(batch, number, 2),
                outlines=ellipse_descriptors(4).expand(batch, number, -1, -1) + 0.1 * random(batch, number, 2, 9),
                maps=[random(batch, 8, 16, 16), random(batch, 8, 8, 8)],
                map_ratios=torch.ones(batch, 2, 2),
            ),
            **changes,
        }
    )


def awake(module):
    """Shifts are zero at the start."""
    with torch.no_grad():
        module.shift.weight.normal_(generator=torch.Generator().manual_seed(2))
    return module


def test_starts_from_the_outlines_as_they_are():
    tokens = image_tokens()
    steps = refiner()(tokens)
    assert steps.shape == (2, 2, 5, 2, 9)
    torch.testing.assert_close(steps, tokens.outlines.expand(2, -1, -1, -1, -1), **CLOSE)


@pytest.mark.parametrize('harmonics', [1, 4, 16])
def test_shifts_that_are_waves_come_back_as_they_are(harmonics):
    module = refiner(num_harmonics=harmonics)
    waves = torch.randn(2, 1 + 2 * harmonics, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(waves @ module.waves.T @ module.analysis.T, waves, rtol=0, atol=1e-4)


def test_some_tokens_are_refined_as_all_are():
    module, tokens = awake(refiner()), image_tokens()
    indices = torch.tensor([[3, 1], [0, 4]])
    every, some = module(tokens), module(tokens, indices)
    assert (every[0] - tokens.outlines).abs().mean() > 0.01
    for i, index in enumerate(indices):
        torch.testing.assert_close(some[:, i], every[:, i, index], **CLOSE)


def test_padding_of_an_image_does_not_matter():
    """An image in the corner of a batch's maps, with its share told, against its own maps alone."""
    module, tokens = awake(refiner()), image_tokens(batch=1)
    padded = [F.pad(m, (0, m.size(3), 0, 0), mode='replicate') for m in tokens.maps]
    ratios = torch.tensor([[[0.5, 1.0]] * 2])
    beside = OutlineTokens(**{**vars(tokens), 'maps': padded, 'map_ratios': ratios})
    inside = image_tokens(batch=1, extents=torch.full((1, 5, 2), 0.1))
    beside.extents = inside.extents  # away from the border, where maps end
    torch.testing.assert_close(module(beside), module(inside), rtol=0, atol=1e-4)


def test_tokens_of_some_images_keep_their_maps():
    module, tokens = awake(refiner()), image_tokens()
    torch.testing.assert_close(module(tokens.select([1])), module(tokens)[:, 1:], **CLOSE)


def square(low, high, number=24):
    """(N, 2) points around a square, from the middle of its upper side."""
    corners = torch.tensor([[0.5, 0], [1, 0], [1, 1], [0, 1], [0, 0], [0.5, 0]])
    way = torch.tensor([0, 0.5, 1.5, 2.5, 3.5, 4.0])
    at = 4 * torch.arange(number) / number
    part = (torch.searchsorted(way, at, right=True) - 1).clamp(max=4)
    share = ((at - way[part]) / (way[part + 1] - way[part]))[:, None]
    return low + (high - low) * (corners[part] * (1 - share) + corners[part + 1] * share)


def test_loss_is_of_places_in_the_image():
    """A wrong box costs, though the outline in it is right: what it shifts across a circle whole, along it a fifth."""
    descriptors = ellipse_descriptors(4)
    number = 12
    points = outline_waves(torch.arange(number) / number, 4) @ descriptors.T
    gt = InstanceData(bboxes=torch.tensor([[16.0, 16, 48, 48]]), outlines=(32 + 16 * points)[None], labels=torch.zeros(1))
    module = refiner(loss=dict(type='L1Loss', loss_weight=1.0))
    angles = torch.arange(number) * 2 * torch.pi / number
    shifted = 0.5 * (angles.cos().abs() + 0.2 * angles.sin().abs()).mean()  # 8 pixels, half of half a box, in x alone
    for shift, expected in ((0.0, torch.zeros(())), (0.125, shifted)):
        tokens = image_tokens(
            batch=1,
            locations=torch.tensor([[[0.5 + shift, 0.5]] * 5]),
            extents=torch.full((1, 5, 2), 0.5),
            outlines=descriptors.expand(1, 5, -1, -1),
        )
        matches = [(torch.tensor([2]), torch.tensor([0]))]
        steps = module.refine(tokens, matches)[1]
        losses = module.loss(tokens, steps, [gt], matches, [META])
        assert set(losses) == {'r0.loss_outline', 'r1.loss_outline'}
        for loss in losses.values():
            torch.testing.assert_close(loss, expected, **CLOSE)


def test_further_groups_and_images_without_outlines_are_left_out():
    module, tokens = awake(refiner()), image_tokens()
    boxes = torch.tensor([[16.0, 16, 48, 48]])
    with_outlines = InstanceData(bboxes=boxes, outlines=square(16.0, 48.0)[None], labels=torch.zeros(1))
    without = InstanceData(bboxes=boxes, labels=torch.zeros(1))
    one, none = (torch.tensor([2]), torch.tensor([0])), torch.tensor([], dtype=torch.long)
    # Token 7 is the second group's third.
    matches = [(torch.tensor([2, 7]), torch.tensor([0, 0])), one]
    refined, steps = module.refine(tokens, matches)
    loss = module.loss(tokens, steps, [with_outlines, without], matches, [META] * 2)
    alone = module.loss(tokens.select([0]), steps[:, :1, :1], [with_outlines], [one], [META])
    torch.testing.assert_close(loss, alone)
    changed = (refined.outlines != tokens.outlines).flatten(2).any(-1)
    assert changed.tolist() == [[i == 2 for i in range(5)]] * 2 and not refined.outlines.requires_grad
    empty, steps = module.refine(tokens, [(none, none)] * 2)
    assert steps.shape == (2, 2, 0, 2, 9) and torch.equal(empty.outlines, tokens.outlines)
    gt = with_outlines[none]
    assert all(loss == 0 for loss in module.loss(tokens, steps, [gt] * 2, [(none, none)] * 2, [META] * 2).values())


def test_learns_to_follow_an_edge_that_tokens_do_not_tell_of():
    """Squares at random in an image of zeros and ones: tokens are all the same, and boxes are a little off."""
    torch.manual_seed(0)
    module = refiner(num_levels=1, num_harmonics=8)
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)

    def draw(number=8):
        low = 12 + 8 * torch.rand(number, 1)
        high = low + 24 + 8 * torch.rand(number, 1)
        pixels = torch.arange(64) + 0.5
        rows = (pixels > low) & (pixels < high)
        image = (rows[:, :, None] & rows[:, None]).float()[:, None].expand(-1, 8, -1, -1)
        objects = [
            InstanceData(bboxes=torch.cat([a, a, b, b])[None], outlines=square(a, b)[None], labels=torch.zeros(1))
            for a, b in zip(low, high)
        ]
        center = ((low + high) / 2 + 4 * torch.randn(number, 2)) / 64
        tokens = OutlineTokens(
            embeddings=torch.ones(number, 1, 8),
            locations=center[:, None],
            objectness=torch.zeros(number, 1),
            extents=((high - low) / 64).expand(-1, 2)[:, None],
            outlines=ellipse_descriptors(8).expand(number, 1, -1, -1),
            maps=[F.avg_pool2d(image, 2)],
            map_ratios=torch.ones(number, 1, 2),
        )
        return tokens, objects

    found = []
    for _ in range(150):
        tokens, objects = draw()
        matches = [(torch.tensor([0]), torch.tensor([0]))] * len(objects)
        steps = module.refine(tokens, matches)[1]
        losses = module.loss(tokens, steps, objects, matches, [META] * len(objects))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        found.append(losses['r1.loss_outline'].item())
    assert sum(found[-10:]) / 10 < 0.4 * sum(found[:5]) / 5
    # The second step starts where the first one ended.
    assert losses['r1.loss_outline'] < losses['r0.loss_outline']


def test_a_detector_refines_outlines(small):
    cfg = small.detector(
        neck__type='OutlineTokenizer',
        neck__outline_head=dict(num_harmonics=4),
        neck__outline_refiner=dict(hidden_dims=16),
    )
    detector = small.build(cfg)
    awake(detector.neck.outline_refiner)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    instruction = Instruction.from_text(
        'Find <class> in <image> as <format> within <range>', ('star', 'heart'), num_bins=33
    )
    objects = InstanceData(
        bboxes=torch.tensor([[8.0, 8, 40, 32], [30, 20, 50, 60]]),
        labels=torch.tensor([0, 1]),
        outlines=torch.rand(2, 24, 2) * 64,
    )
    meta = dict(META, batch_input_shape=(64, 64))
    samples = [DetDataSample(metainfo=meta, instruction=instruction, gt_instances=objects) for _ in range(2)]
    losses = detector.loss(images, samples)
    assert {'tok_r0.loss_outline', 'tok_r1.loss_outline'} <= set(losses)
    sum(v if torch.is_tensor(v) else sum(v) for k, v in losses.items() if 'loss' in k).backward()
    assert all(p.grad is not None for p in detector.neck.outline_refiner.parameters())
    detector.eval()
    with torch.no_grad():
        tokens = detector.tokenize(images, samples, detector.instructions(samples))
        plain = detector.neck.outline_head(tokens.embeddings)
    assert tokens.outlines.shape == plain.shape and not torch.allclose(tokens.outlines, plain)
