"""One gate for COCO files: what the dataset trains on is what the evaluator counts."""

from __future__ import annotations

import difflib
import logging
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from mmengine.logging import print_log

from mmdet.datasets.api_wrappers import COCO

from .checked_records import load_json
from .coco_annotations import AnnotationRepairer, find_id, proper_id
from .coco_report import AnnotationFileError, CocoReport

Size = tuple[int, int]

_MANY_CROWDS = 0.5  # COCO has 1.2% of them


class CheckedCOCO(COCO):
    """pycocotools' ``COCO`` of a file that has gone through the gate.

    What can be repaired is repaired, what cannot be used is left out, both with counts and an example, which are logged.

    Args:
        path: The annotation file.
        classes: Names that matter, in the order of their labels; all of the file's by default.
        with_masks: Leave out annotations that give no mask; ``'polygons'``: or a mask by run lengths alone.
        read_size: Id and file name of an image -> its width and height, or None; for images whose size the file does not
            say. Without it, they have none, and their objects are not held to be inside.
        backend_args: As in mmengine's file backends.

    Attributes:
        report: What was done.
        renumbered: Whether categories have other ids than in the file.

    Raises:
        AnnotationFileError: if the file cannot be used.
    """

    def __init__(
        self,
        path: str,
        classes: Sequence[str] | None = None,
        with_masks: bool | str = False,
        read_size: Callable[[Hashable, str], Size | None] | None = None,
        backend_args: dict | None = None,
    ) -> None:
        super().__init__()
        self.report = CocoReport(path)
        document = read_document(path, backend_args)
        images = usable_images(document['images'], self.report, read_size)
        categories, merged = usable_categories(document, self.report)
        others: dict[Hashable, dict] = {}
        if classes is not None:
            add_missing(categories, classes, self.report)
            others = {key: category for key, category in categories.items() if category['name'] not in classes}
            categories = {key: category for key, category in categories.items() if key not in others}
        repairer = AnnotationRepairer(images, categories, merged, with_masks, others)
        annotations = repairer.repair_all(document['annotations'], self.report)
        self.renumbered = number_categories(categories, classes or (), annotations, self.report)
        self.dataset = dict(
            info={}, images=list(images.values()), categories=list(categories.values()), annotations=annotations
        )
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs
        crowds = sum(annotation['iscrowd'] for annotation in annotations)
        if annotations and crowds > _MANY_CROWDS * len(annotations):
            print_log(
                f'{path}: {crowds} of {len(annotations)} annotations are crowds (iscrowd=1), which are neither learned '
                'nor counted: if each of them is a single object, set iscrowd to 0',
                'current',
                logging.WARNING,
            )
        self._log(len(annotations))

    def _log(self, num_kept: int) -> None:
        report = self.report
        if report.num_annotations and not num_kept:
            names = [category['name'] for category in self.dataset['categories']]
            raise AnnotationFileError(f'{report}; no annotation is left. Categories are {names[:20]}')
        if report.left_out or report.repaired:
            print_log(str(report), 'current', logging.WARNING)


def read_document(path: str, backend_args: dict | None = None) -> dict[str, list]:
    """A COCO file's lists ``images``, ``annotations`` and ``categories``.

    Raises:
        AnnotationFileError: if it is no JSON, or lacks one of them; without annotations are files of test images.
    """
    try:
        document = load_json(path, backend_args)
    except ValueError as error:
        raise AnnotationFileError(str(error)) from error
    if not isinstance(document, dict):
        raise AnnotationFileError(
            f'{path} holds a {type(document).__name__}, but a COCO file is an object with lists under "images", '
            '"annotations" and "categories": export it as "COCO JSON"'
        )
    found = {key: document.get(key) for key in ('images', 'annotations', 'categories')}
    if found['annotations'] is None:
        found['annotations'] = []
    for key, value in found.items():
        if not isinstance(value, list):
            keys = ', '.join(map(repr, list(document)[:8])) or 'nothing'
            raise AnnotationFileError(
                f'{path} has no list under "{key}", but {keys}: a COCO file has "images", "annotations" and '
                '"categories"; is it the right file?'
            )
    return found


def usable_images(
    records: list, report: CocoReport, read_size: Callable[[Hashable, str], Size | None] | None = None
) -> dict[Hashable, dict]:
    """Images by id.

    Raises:
        AnnotationFileError: if two have the same id, or none can be used.
    """
    images: dict[Hashable, dict] = {}
    for index, record in enumerate(records):
        key = proper_id(record.get('id')) if isinstance(record, dict) else None
        name = record.get('file_name') if isinstance(record, dict) else None
        if key is None or not isinstance(name, str) or not name:
            report.leave_out('images without a proper id or file_name', f'number {index}')
            continue
        if key in images:
            if images[key]['file_name'] != name:
                raise AnnotationFileError(
                    f'{report.path}: images {images[key]["file_name"]!r} and {name!r} both have the id {key!r}, so that '
                    'it is unclear whose annotations are whose: number the images anew, as when files are merged'
                )
            report.repair('images listed twice', key)
            continue
        size = record.get('width'), record.get('height')
        if not all(type(side) is int and side > 0 for side in size):
            found = read_size(key, name) if read_size is not None else None
            record.pop('width', None), record.pop('height', None)
            if found is not None:
                record['width'], record['height'] = found
                report.repair('images without a proper width and height, read from their files', name)
            elif read_size is not None:
                report.leave_out('images without a proper width and height, whose files cannot be read', name)
                continue
        record['id'] = key
        images[key] = record
    if len(set(map(type, images))) > 1:
        # pycocotools sorts them.
        report.repair('image ids, some whole numbers and some texts, are texts', next(iter(images)), 0)
        if double := next((key for key in images if isinstance(key, int) and str(key) in images), None):
            raise AnnotationFileError(f'{report.path}: two images have the ids {double} and "{double}": number them anew')
        images = {str(key): dict(image, id=str(key)) for key, image in images.items()}
    if not images:
        raise AnnotationFileError(f'{report}; no image is left' if records else f'{report.path} lists no images')
    return images


def usable_categories(
    document: dict[str, list], report: CocoReport
) -> tuple[dict[Hashable, dict], dict[Hashable, Hashable]]:
    """Categories by id, and the ids of those that are others under the same name -> the id to use.

    Of categories with one name, such as the parents that some tools write, those without annotations go.

    Raises:
        AnnotationFileError: if none can be used, or two names share an id.
    """
    found: dict[Hashable, dict] = {}
    for index, record in enumerate(document['categories']):
        key = proper_id(record.get('id')) if isinstance(record, dict) else None
        name = record.get('name') if isinstance(record, dict) else None
        if key is None or not isinstance(name, str) or not name.strip():
            report.leave_out('categories without a proper id or name', record if record else f'number {index}')
            continue
        if key in found and found[key]['name'] != name.strip():
            raise AnnotationFileError(
                f'{report.path}: categories {found[key]["name"]!r} and {name!r} both have the id {key!r}: number the '
                'categories anew'
            )
        found[key] = dict(record, id=key, name=name.strip())
    if not found:
        raise AnnotationFileError(
            f'{report.path} has no category with an "id" and a "name": write them as '
            '[{"id": 1, "name": "cat"}, ...], with the ids that annotations have as "category_id"'
        )
    counts = Counter(category['name'] for category in found.values())
    if max(counts.values()) == 1:
        return found, {}
    asked = (annotation.get('category_id') for annotation in document['annotations'] if isinstance(annotation, dict))
    used = {find_id(value, found) for value in asked}
    first: dict[str, Hashable] = {}
    for key, category in sorted(found.items(), key=lambda item: item[0] not in used):
        first.setdefault(category['name'], key)
    merged = {key: first[c['name']] for key, c in found.items() if first[c['name']] != key}
    for key in merged:
        report.repair('categories of a name that another one has', found[key]['name'])
    return {key: c for key, c in found.items() if key not in merged}, merged


def add_missing(categories: dict[Hashable, dict], classes: Sequence[str], report: CocoReport) -> None:
    """Add the classes that a file does not list: rare ones are missing from small files.

    Raises:
        AnnotationFileError: if it lists none of them.
    """
    names = [category['name'] for category in categories.values()]
    missing = [name for name in classes if name not in names]
    if len(missing) == len(classes):
        raise AnnotationFileError(
            f'{report.path} has the categories {names[:20]}, but metainfo.classes are {list(classes)[:20]}: name the '
            "file's own, metainfo=dict(classes=(...)), in the dataset"
        )
    for name in missing:
        close = difflib.get_close_matches(name, names, 1)
        meant = f' (is {close[0]!r} meant?)' if close else ''
        report.repair(f'classes of metainfo are not in the file{meant}', name)
        key = f'missing {name}'  # until they are numbered
        categories[key] = dict(id=key, name=name)


def number_categories(
    categories: dict[Hashable, dict], classes: Sequence[str], annotations: list[dict], report: CocoReport
) -> bool:
    """Number categories anew, in place, unless their ids are whole numbers that ascend as the classes do.

    mmdet numbers labels by the order of the file, and pycocotools its results by the order of the ids.

    Returns:
        Whether that was done.
    """
    rank = {name: label for label, name in enumerate(classes)}
    ordered = sorted(categories.values(), key=lambda c: rank.get(c['name'], len(rank)))
    ids = [category['id'] for category in ordered]
    named = [i for i, category in zip(ids, ordered) if category['name'] in rank or not rank]
    whole = all(type(i) is int for i in ids)
    if whole and named == sorted(named):
        in_order = [i for i, c in categories.items() if c['name'] in rank or not rank]
        if in_order == named:
            return False
    new = {old: number for number, old in enumerate(ids, start=1)}
    report.repair('category ids changed, to follow metainfo.classes', ids[0], 0)
    for annotation in annotations:
        annotation['category_id'] = new[annotation['category_id']]
    categories.clear()
    categories.update({new[c['id']]: dict(c, id=new[c['id']]) for c in ordered})
    return True
