"""mmdet's open-vocabulary interface beside our inferencer: AP of the same model with the same categories.

    python benchmarks/text_prompts.py work_dirs/visionllm_tiny_scenes/iter_500.pth

`DetInferencer(texts=..., custom_entities=True)` and `VisionLLMInferencer(categories=...)` look for half of the categories
in the validation scenes. Both answer with labels that count the prompt's names. AP is the mean over these categories, by
pycocotools; what is not of them is counted, too.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path

from common import ROOT
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import mmvisionllm  # noqa: F401  registers its modules
from mmdet.apis import DetInferencer
from mmvisionllm.apis import VisionLLMInferencer

CONFIG = 'configs/visionllm/visionllm_tiny_scenes.py'


def average_precision(coco: COCO, image_ids: list[int], predictions: list[dict], names: list[str]) -> tuple[float, float]:
    """AP and AP50 of predictions whose labels count ``names``."""
    ids = [coco.getCatIds(catNms=[name])[0] for name in names]
    found = [
        dict(image_id=image, category_id=ids[label], bbox=[x1, y1, x2 - x1, y2 - y1], score=score)
        for image, prediction in zip(image_ids, predictions)
        for label, (x1, y1, x2, y2), score in zip(prediction['labels'], prediction['bboxes'], prediction['scores'])
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco, coco.loadRes(found), 'bbox')
        evaluation.params.catIds = ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return round(evaluation.stats[0], 4), round(evaluation.stats[1], 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint')
    parser.add_argument('--data', type=Path, default=ROOT / 'data/scenes')
    parser.add_argument('--categories', nargs='+', default=['star', 'heart', 'arrow', 'crescent moon', 'circle'])
    args = parser.parse_args()
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(args.data / 'annotations/instances_val.json')
    images = coco.loadImgs(sorted(coco.getImgIds()))
    paths = [str(args.data / 'val' / image['file_name']) for image in images]
    ids = [image['id'] for image in images]
    options = dict(weights=args.checkpoint, device='cpu', show_progress=False)
    calls = dict(texts=' . '.join(args.categories), custom_entities=True), dict(categories=args.categories)
    results = {}
    for kind, call in zip((DetInferencer, VisionLLMInferencer), calls):
        inferencer = kind(str(ROOT / CONFIG), **options)
        predictions = inferencer(paths, return_vis=False, **call)['predictions']
        beyond = sum(label >= len(args.categories) for found in predictions for label in found['labels'])
        results[kind.__name__] = dict(zip(('AP', 'AP50'), average_precision(coco, ids, predictions, args.categories)))
        results[kind.__name__].update(boxes=sum(len(p['labels']) for p in predictions), of_other_categories=beyond)
    print(json.dumps(results, indent=1))


if __name__ == '__main__':
    main()
