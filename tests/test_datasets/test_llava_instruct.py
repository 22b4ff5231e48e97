import cv2
import numpy as np
import pytest


def record(*values, image='000000000001.jpg', **fields):
    turns = [{'from': ('human', 'gpt')[i % 2], 'value': v} for i, v in enumerate(values)]
    return dict(id='000000000001', image=image, conversations=turns, **fields)


BEHIND = record('What is this?\n<image>', 'A cat.', 'Which color?', 'Gray.\n\nMostly.')
BEFORE = record('<image>\nWhat is this?', 'A cat.')


def test_conversations_come_as_released(build, tmp_path):
    dataset = build('LLaVAInstructDataset', [BEHIND, BEFORE])
    assert len(dataset) == 2 and not dataset.skipped
    for i, wanted in enumerate((BEHIND, BEFORE)):
        info = dataset.get_data_info(i)
        assert info['conversation'] == wanted['conversations']
        assert info['img_path'] == str(tmp_path / 'images/000000000001.jpg')
        assert info['img_id'] == i  # both records have the id of the image


BAD = {
    'conversations without a proper "image"': record('<image> Hm?', 'Yes.', image=None),
    'conversations without a proper "conversations"': dict(id='1', image='1.jpg'),
    'conversations without an answer to each question': record('<image> Hm?'),
    'conversations that do not take turns, human first': dict(
        image='1.jpg', conversations=[{'from': 'gpt', 'value': '<image> Hm?'}] * 2
    ),
    'conversations without <image> at an end of the first turn': record('See <image>?', 'Yes.'),
    'turns of conversations with a token that VisionLLM reserves': record('<image> Hm?', 'Yes <image>.'),
    'empty turns of conversations': record('<image>\n', 'Yes.'),
    'turns of conversations of more than 100 bytes': record('<image> Hm?', 'Yes. ' * 30),
    'conversations without a proper "from"': dict(image='1.jpg', conversations=[{}, {}]),
    'conversations without a proper "value"': dict(image='1.jpg', conversations=[{'from': 'human', 'value': 3}, {}]),
}


def test_malformed_records_are_counted_and_logged(build, log):
    records = [BEHIND, *BAD.values(), record('<image> A <image>?', 'Yes.')]
    dataset = build('LLaVAInstructDataset', records, max_text_length=100)
    wanted = dict.fromkeys(BAD, 1)
    wanted['turns of conversations with a token that VisionLLM reserves'] += 1
    assert dataset.skipped == wanted and len(dataset) == 1
    assert any(f'{len(BAD) + 1} of {len(records)} records left out' in message for message in log.messages)


def test_another_file(build):
    with pytest.raises(ValueError, match="list of records, but holds an object with 'images'"):
        build('LLaVAInstructDataset', dict(images=[]))


def test_pipeline(load, build, tmp_path):
    cv2.imwrite(str(tmp_path / '000000000001.jpg'), np.zeros((50, 100, 3), np.uint8))
    build('LLaVAInstructDataset', [BEHIND])  # writes data.json
    dataset = load('LLaVAInstructDataset', tmp_path, 'conversation', ann_file='data.json')
    sample = dataset[0]['data_samples']
    assert sample.conversation == BEHIND['conversations'] and len(sample.gt_instances) == 0
