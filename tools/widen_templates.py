# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Have a language model write more templates of a task, and keep those that are good and new.

Examples:
    python tools/widen_templates.py detection detection_wide.yaml --model path/to/instruct-model --count 200
    mim run mmvisionllm widen_templates captioning captioning_wide.yaml --model path/to/instruct-model

The file has the form of mmvisionllm/instructions/templates/*.yaml and holds the task's own templates as well. A run that
was interrupted goes on when it is started again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mmvisionllm.instructions import TASKS
from mmvisionllm.instructions.widening import widen


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; a wrong path ends here with a usage message."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('task', choices=sorted(TASKS))
    parser.add_argument('out', type=Path, help='YAML file to write, or to go on with')
    parser.add_argument('--model', type=Path, required=True, help="folder of a transformers' causal language model")
    parser.add_argument('--count', type=int, default=100, help='templates to add (default 100)')
    parser.add_argument('--shots', type=int, default=8, help='examples per round (default 8)')
    parser.add_argument('--seed', type=int, default=0, help='decides what is shown and sampled')
    parser.add_argument('--patience', type=int, default=10, help='rounds without a new one to stop after (10)')
    parser.add_argument('--temperature', type=float, default=1.0, help='of sampling (default 1)')
    parser.add_argument('--top-p', type=float, default=0.95, help='of sampling (default 0.95)')
    parser.add_argument('--max-new-tokens', type=int, default=768, help='per round (default 768)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args(argv)
    if not (args.model / 'config.json').is_file():
        parser.error(f'no language model in {args.model}: there is no config.json')
    if not args.out.resolve().parent.is_dir():
        parser.error(f'no folder to write {args.out} to')
    return args


def make_generator(args: argparse.Namespace) -> Callable[[str, int], str]:
    """Load the model. Returns (prompt, seed) -> sampled answer."""
    tokenizer = AutoTokenizer.from_pretrained(args.model, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(args.model, local_files_only=True, dtype='auto')
    model.to(args.device).eval()

    @torch.inference_mode()
    def generate(prompt: str, seed: int) -> str:
        if tokenizer.chat_template:
            inputs = tokenizer.apply_chat_template(
                [dict(role='user', content=prompt)], add_generation_prompt=True, return_tensors='pt', return_dict=True
            )
        else:
            # A model without turns goes on with the list.
            inputs = tokenizer(f'{prompt}{args.shots + 1}.', return_tensors='pt')
        ids = inputs['input_ids'].to(args.device)
        torch.manual_seed(seed)
        answer = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=args.temperature,
            top_p=args.top_p,
            top_k=0,
            max_new_tokens=args.max_new_tokens,
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
        )
        return tokenizer.decode(answer[0, ids.shape[1] :], skip_special_tokens=True)

    return generate


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool. Returns the exit status: 0, 1 if no template was added, 2 if it cannot be run."""
    args = parse_args(argv)
    sampling = {key: getattr(args, key) for key in ('temperature', 'top_p', 'max_new_tokens')}
    try:
        added, refused = widen(
            args.task,
            args.out,
            make_generator(args),
            args.count,
            settings=dict(model=args.model.resolve().name, **sampling),
            shots=args.shots,
            seed=args.seed,
            patience=args.patience,
        )
    except (OSError, ValueError) as error:
        print(f'widen_templates: {error}', file=sys.stderr)
        return 2
    for reason, number in refused.most_common():
        print(f'refused {number}: {reason}')
    if not added:
        print('nothing was kept: try another model, a lower temperature or more patience')
        return 1
    print(f'{added} templates were added; they are in {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
