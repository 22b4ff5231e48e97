# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
"""Detect what an instruction asks for, and draw it.

Examples:
    python tools/infer.py picture.png configs/visionllm/visionllm_tiny_scenes.py --weights X.pth
    mim run mmvisionllm infer pictures/ visionllm_tiny_scenes --weights X.pth --categories star 'plus sign'
    mim run mmvisionllm infer picture.png visionllm_tiny_scenes --weights X.pth \
        --instruction 'Mark each {"star": <c0>, "heart": <c1>} in <image>' --pred-score-thr 0.5
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pickle import UnpicklingError

from mmvisionllm.apis import VisionLLMInferencer
from mmvisionllm.instructions import TASKS


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse ``argv``, by default those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('image', help='image file, folder of images, or URL')
    parser.add_argument('config', help='config file, or name of a model of this package')
    parser.add_argument('--weights', help='checkpoint; without one the weights are random')
    parser.add_argument(
        '--instruction',
        help='a text with <image>, and with <class> (beside --categories) or a mapping such as '
        '{"star": <c0>}; default: a template of the task',
    )
    parser.add_argument('--categories', nargs='+', metavar='NAME', help='what to detect; quote names with blanks')
    parser.add_argument('--question', help='what to answer')
    parser.add_argument('--task', choices=sorted(TASKS), help='task; default: what the instruction asks for')
    parser.add_argument('--out-dir', default='outputs', help='pictures and JSON files go there (default: outputs)')
    parser.add_argument(
        '--pred-score-thr', type=float, default=0.3, help='least score of what is drawn and listed (default: %(default)s)'
    )
    parser.add_argument('--no-save-vis', action='store_true', help='write no pictures')
    parser.add_argument('--no-save-pred', action='store_true', help='write no JSON files')
    parser.add_argument('--show', action='store_true', help='show the pictures in a window')
    parser.add_argument('--batch-size', type=int, default=1, help='images per batch (default: 1)')
    parser.add_argument('--device', help='such as cpu or cuda:0 (default: what there is)')
    args = parser.parse_args(argv)
    if args.batch_size < 1:
        parser.error(f'--batch-size must be at least 1, got {args.batch_size}')
    return args


def describe(prediction: dict, threshold: float) -> list[str]:
    """The text, or a line per object whose score exceeds the threshold and one that counts them."""
    if 'text' in prediction:
        return [f'{prediction["img_path"]}: {prediction["text"]}']
    found = [
        f'  {name:<20} {score:.2f}  ' + ' '.join(f'{value:7.1f}' for value in box)
        for name, score, box in zip(prediction['label_names'], prediction['scores'], prediction['bboxes'])
        if score > threshold
    ]
    return [f'{prediction["img_path"]}: {len(found)} objects with a score above {threshold:g}', *found]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool. Returns the exit status: 0, or 2 for an unusable image, instruction or model."""
    args = parse_args(argv)
    try:
        inferencer = VisionLLMInferencer(args.config, args.weights, device=args.device, show_progress=False)
        results = inferencer(
            args.image,
            instruction=args.instruction,
            categories=args.categories,
            task=args.task,
            question=args.question,
            batch_size=args.batch_size,
            pred_score_thr=args.pred_score_thr,
            out_dir=args.out_dir,
            no_save_vis=args.no_save_vis,
            no_save_pred=args.no_save_pred,
            show=args.show,
            return_vis=False,
        )
    except (ValueError, TypeError, OSError, UnpicklingError) as error:
        print(f'infer: {error}', file=sys.stderr)
        return 2
    print(f'instruction: {results["predictions"][0]["instruction"]}')
    for prediction in results['predictions']:
        print('\n'.join(describe(prediction, args.pred_score_thr)))
    if not (args.no_save_vis and args.no_save_pred):
        print(f'results are in {args.out_dir}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
