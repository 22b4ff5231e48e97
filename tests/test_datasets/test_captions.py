import json

import pytest

IMAGES = [dict(id=i, file_name=f'{i}.jpg', width=100, height=50) for i in (1, 2)]
CAPTIONS = [dict(id=i, image_id=1, caption=f'{i} cats.\n') for i in (1, 2)]


def test_one_sample_per_image(build, tmp_path, log):
    dataset = build('CaptionDataset', dict(images=IMAGES[:1], annotations=CAPTIONS))
    info = dataset.get_data_info(0)
    assert len(dataset) == 1 and not dataset.skipped
    assert info['gt_caption'] == ['1 cats.', '2 cats.'] and info['img_id'] == 1
    assert (info['width'], info['height']) == (100, 50) and info['instances'] == []
    assert info['img_path'] == str(tmp_path / 'images/1.jpg')
    assert not any('left out' in message for message in log.messages)


def test_what_is_left_out_is_counted_and_logged(build, log):
    annotations = [
        *CAPTIONS,
        dict(image_id=1, caption=''),
        dict(image_id=2, caption=None),
        dict(image_id=3, caption='of no image'),
        dict(image_id=[], caption='of no image'),
        'not a record',
    ]
    images = [*IMAGES, dict(id=[], file_name='x.jpg'), dict(id=1)]
    dataset = build('CaptionDataset', dict(images=images, annotations=annotations))
    assert dataset.skipped == {
        'empty captions': 2,
        'captions of images that are not listed': 1,
        'captions without a proper "image_id"': 2,
        'images without captions': 1,
        'images without a proper "id"': 1,
        'images without a proper "file_name"': 1,
    }
    assert len(dataset) == 1
    assert any('8 of 11 records left out' in message for message in log.messages)


@pytest.mark.parametrize('document', [[], {}, dict(images=[])])
def test_another_file(build, document):
    with pytest.raises(ValueError, match='a list under "images" and "annotations", but holds'):
        build('CaptionDataset', document)


def test_rendered_scenes(load, scenes):
    ann_file = 'annotations/captions_val.json'
    dataset = load('CaptionDataset', scenes, 'gt_caption', ann_file=ann_file, data_prefix=dict(img='val'))
    annotations = json.loads((scenes / ann_file).read_text())['annotations']
    assert len(dataset) == 4 and not dataset.skipped
    sample = dataset[0]['data_samples']
    assert sample.gt_caption == [a['caption'] for a in annotations if a['image_id'] == sample.img_id]
    assert sample.gt_instances.bboxes.shape == (0, 4)


def test_real_captions(load, coco_mini):
    dataset = load(
        'CaptionDataset',
        coco_mini,
        'gt_caption',
        ann_file='annotations/captions_val2017.json',
        data_prefix=dict(img='val2017'),
    )
    assert len(dataset) == 85 and not dataset.skipped
    assert len(dataset[0]['data_samples'].gt_caption) == 5


@pytest.mark.parametrize('caption', ['one', ['one', 'two']])
def test_karpathys_splits_are_read_by_mmdet(load, scenes, tmp_path, caption):
    (tmp_path / 'karpathy.json').write_text(json.dumps([dict(image='val/000000000001.png', caption=caption)]))
    dataset = load(
        'CocoCaptionDataset',
        scenes,
        'gt_caption',
        ann_file=str(tmp_path / 'karpathy.json'),
        data_prefix=dict(img_path=''),
    )
    sample = dataset[0]['data_samples']
    assert sample.gt_caption == caption and int(sample.img_id) == 1
