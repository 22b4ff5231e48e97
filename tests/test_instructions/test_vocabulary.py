import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmvisionllm.instructions import CoordinateCodec, Vocabulary

odd_bins = st.integers(1, 2000).map(lambda i: 2 * i + 1)
offsets = st.lists(st.floats(-1, 1), min_size=1, max_size=20)


@given(odd_bins, offsets)
def test_codec_is_off_by_half_a_bin_at_most(num_bins, values):
    codec = CoordinateCodec(num_bins)
    values = np.array(values)
    bins = codec.encode(values)
    assert ((bins >= 0) & (bins < num_bins) & (bins == bins.astype(int))).all()
    assert np.abs(codec.decode(bins) - values).max() <= 0.5 / codec.radius + 1e-9


@given(odd_bins)
def test_codec_keeps_every_bin(num_bins):
    codec = CoordinateCodec(num_bins)
    bins = torch.arange(num_bins)
    assert torch.equal(codec.encode(codec.decode(bins)).long(), bins)


@given(odd_bins, offsets)
def test_codec_works_alike_on_arrays_and_tensors(num_bins, values):
    codec = CoordinateCodec(num_bins)
    np.testing.assert_array_equal(codec.encode(np.array(values)), codec.encode(torch.tensor(values, dtype=torch.float64)))


@given(st.floats(-1e6, 1e6).filter(lambda x: abs(x) > 1))
def test_codec_clips_what_lies_beyond_an_image_side(value):
    codec = CoordinateCodec(257)
    assert codec.decode(codec.encode(np.array(value))) == np.sign(value)


def test_token_p_i_is_i_over_512_of_a_side():
    vocabulary = Vocabulary(1025)
    codec = vocabulary.codec
    for token, offset in (('<p-512>', -1), ('<p0>', 0), ('<p1>', 1 / 512), ('<p512>', 1)):
        assert codec.decode(vocabulary.location_tokens.index(token)) == offset
        assert vocabulary.location_tokens[int(codec.encode(np.float64(offset)))] == token


@pytest.mark.parametrize('num_bins', [-1, 0, 1, 2, 1024])
def test_bins_must_be_odd(num_bins):
    for make in (CoordinateCodec, Vocabulary):
        with pytest.raises(ValueError, match=f'odd number of at least 3.*got {num_bins}'):
            make(num_bins)


@pytest.mark.parametrize('num_bins', [3, 257, 1025])
def test_vocabulary_lays_its_tokens_out_as_it_says(num_bins):
    vocabulary = Vocabulary(num_bins)
    tokens = vocabulary.tokens
    assert len(tokens) == len(set(tokens)) == len(vocabulary) == num_bins + 512 + 1 + 129 + 1
    assert tokens[vocabulary.location_slice] == vocabulary.location_tokens
    assert tokens[vocabulary.class_slice] == vocabulary.class_tokens
    assert tokens[vocabulary.none_index] == '<none>'
    assert [vocabulary.index(token) for token in tokens] == list(range(len(tokens)))


def test_paper_counts_1025_location_and_512_class_tokens():
    vocabulary = Vocabulary()
    assert (len(vocabulary.location_tokens), len(vocabulary.class_tokens)) == (1025, 512)


def test_token_of_a_larger_vocabulary_is_unknown():
    with pytest.raises(KeyError, match=r"'<p512>' is not a VisionLLM token \(num_bins=257\)"):
        Vocabulary(257).index('<p512>')
