"""Train the embedded default's tokenizer on text about scenes.

The results are shipped in configs/_base_/tokenizers; run this only after the words of the scenes or of the instruction
templates have changed::

    python tools/make_scenes_tokenizer.py configs/_base_/tokenizers/scenes
    python tools/make_scenes_tokenizer.py configs/_base_/tokenizers/scenes_coco --vocab-size 1200 --categories coco
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mmvisionllm.datasets import SceneTextDataset
from mmvisionllm.instructions.vocabulary import ADDED_TOKEN_PATTERN

SPECIAL = ['<pad>', '<s>', '</s>']


def corpus(length: int, seed: int, categories: str | None) -> Iterator[str]:
    names = dict(categories=categories) if categories else {}
    dataset = SceneTextDataset(length=length, seed=seed, **names)
    for index in range(length):
        sample = dataset[index]['sample']
        yield from sample.texts
        # The added tokens are not the tokenizer's own: it sees what stands between them.
        yield from ADDED_TOKEN_PATTERN.split(sample.instruction.text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', help='folder to write')
    parser.add_argument('--vocab-size', type=int, default=1000)
    parser.add_argument('--samples', type=int, default=4000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--categories', help="names in the instructions, as mmdet's get_classes knows them: coco"
    )
    args = parser.parse_args()
    tokenizer = Tokenizer(models.BPE())
    # Byte level: any text a user writes has tokens, however rare.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=args.vocab_size,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(corpus(args.samples, args.seed, args.categories), trainer)
    pad, bos, eos = SPECIAL
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, bos_token=bos, eos_token=eos
    ).save_pretrained(args.out)
    print(f'{tokenizer.get_vocab_size()} tokens written to {args.out}')


if __name__ == '__main__':
    main()
