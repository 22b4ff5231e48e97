"""What the gate for COCO files costs beside pycocotools' own loading, on a file of COCO's size.

    python benchmarks/coco_gate_speed.py [--rounds 3]

118,287 images and 860,001 annotations with polygons, made up with as many digits as COCO's. Each round times, in this
process, pycocotools' `COCO(path)` and then the gate alone (checks and repairs; reading JSON and indexing are
pycocotools'). Prints the median of both and their ratio; the last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from pycocotools.coco import COCO

from mmvisionllm.datasets.coco_annotations import AnnotationRepairer
from mmvisionllm.datasets.coco_file import number_categories, read_document, usable_categories, usable_images
from mmvisionllm.datasets.coco_report import CocoReport

IMAGES, ANNOTATIONS, CATEGORIES = 118_287, 860_001, 80


def made_up(path: Path, seed: int = 0) -> None:
    """Write the file."""
    rng = random.Random(seed)
    images = [dict(id=i, file_name=f'{i:012}.jpg', width=640, height=480) for i in range(1, IMAGES + 1)]
    annotations = []
    for number in range(1, ANNOTATIONS + 1):
        x, y, w, h = rng.uniform(0, 500), rng.uniform(0, 400), rng.uniform(5, 100), rng.uniform(5, 70)
        corners = rng.randint(8, 46)
        polygon = [round(v, 2) for _ in range(corners) for v in (x + rng.random() * w, y + rng.random() * h)]
        annotations.append(
            dict(
                segmentation=[polygon],
                area=round(w * h * 0.6, 3),
                iscrowd=0,
                image_id=rng.randint(1, IMAGES),
                bbox=[round(v, 2) for v in (x, y, w, h)],
                category_id=rng.randint(1, CATEGORIES),
                id=number,
            )
        )
    categories = [dict(id=i, name=f'category {i}') for i in range(1, CATEGORIES + 1)]
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories, info={})))


def gate(document: dict[str, list], path: str) -> CocoReport:
    """All that the gate does between reading and indexing."""
    report = CocoReport(path)
    images = usable_images(document['images'], report)
    categories, merged = usable_categories(document, report)
    annotations = AnnotationRepairer(images, categories, merged).repair_all(document['annotations'], report)
    number_categories(categories, (), annotations, report)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=3)
    args = parser.parse_args()
    theirs, ours = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'instances.json')
        made_up(path)
        for _ in range(args.rounds):
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                COCO(str(path))
            theirs.append(time.perf_counter() - start)
            document = read_document(str(path))
            start = time.perf_counter()
            report = gate(document, str(path))
            ours.append(time.perf_counter() - start)
            assert report.num_used == ANNOTATIONS
            del document
    result = dict(pycocotools_s=statistics.median(theirs), gate_s=statistics.median(ours))
    print(f'pycocotools {result["pycocotools_s"]:.2f} s, gate {result["gate_s"]:.2f} s')
    print(json.dumps(dict(result, ratio=round(result['gate_s'] / result['pycocotools_s'], 3))))


if __name__ == '__main__':
    main()
