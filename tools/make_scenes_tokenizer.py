"""Train the embedded default's tokenizer on text about scenes.

The results are shipped in configs/_base_/tokenizers; run this only after the words of the scenes or of the instruction
templates have changed::

    python tools/make_scenes_tokenizer.py configs/_base_/tokenizers/scenes
    python tools/make_scenes_tokenizer.py configs/_base_/tokenizers/scenes_coco --vocab-size 1700 --categories coco
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mmvisionllm.instructions.vocabulary import ADDED_TOKEN_PATTERN
from mmvisionllm.scenes import SceneExpressionDataset, SceneTextDataset

SPECIAL = ['<pad>', '<s>', '</s>']


def corpus(length: int, seed: int, categories: str | None) -> Iterator[str]:
    names = dict(categories=categories) if categories else {}
    datasets = SceneTextDataset(length, seed, **names), SceneExpressionDataset(length, seed)
    for dataset in datasets:
        for index in range(length):
            sample = dataset[index]['sample']
            # An answer's and a description's first words have no space in front: they are tokens of their own.
            yield from (*sample.texts, *sample.names)
            instructions = [sample.instruction, *sample.formats]
            for instruction, turns in sample.answers:
                instructions.append(instruction)
                yield from turns
            # The added tokens are not the tokenizer's own: it sees what stands between them.
            for instruction in instructions:
                yield from ADDED_TOKEN_PATTERN.split(instruction.text)


def for_older_versions(folder: Path) -> None:
    """Spell the files as transformers 4.44 and tokenizers 0.19 read them, too: merges as words, a class they know."""
    path = folder / 'tokenizer.json'
    state = json.loads(path.read_text('utf-8'))
    merges = state['model']['merges']
    state['model']['merges'] = [m if isinstance(m, str) else ' '.join(m) for m in merges]
    path.write_text(json.dumps(state, indent=2, ensure_ascii=False), 'utf-8')
    path = folder / 'tokenizer_config.json'
    config = json.loads(path.read_text('utf-8')) | dict(tokenizer_class='PreTrainedTokenizerFast')
    path.write_text(json.dumps(config, indent=2) + '\n', 'utf-8')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', help='folder to write')
    parser.add_argument('--vocab-size', type=int, default=1500)
    parser.add_argument('--samples', type=int, default=4000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--categories', help="names in the instructions, as mmdet's get_classes knows them: coco")
    args = parser.parse_args()
    tokenizer = Tokenizer(models.BPE())
    # Byte level: any text a user writes has tokens, however rare.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=args.vocab_size, special_tokens=SPECIAL, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())
    )
    tokenizer.train_from_iterator(corpus(args.samples, args.seed, args.categories), trainer)
    pad, bos, eos = SPECIAL
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, bos_token=bos, eos_token=eos).save_pretrained(
        args.out
    )
    for_older_versions(Path(args.out))
    print(f'{tokenizer.get_vocab_size()} tokens written to {args.out}')


if __name__ == '__main__':
    main()
