"""BLEU and CIDEr of captions, with or without Java."""

from __future__ import annotations

import contextlib
import io
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mmdet.evaluation import COCOCaptionMetric
from mmdet.registry import METRICS
from mmvisionllm.datasets.checked_records import load_lists

METRIC_NAMES = ('Bleu_1', 'Bleu_2', 'Bleu_3', 'Bleu_4', 'ROUGE_L', 'CIDEr')

_WORD = re.compile(r"n't\b|(?<=\w)'(?:s|re|ve|ll|d|m)\b|\w+?(?=n't\b)|\w+(?:[-./:]\w+|(?<=\d),(?=\d)\w+)*|[&$%#]")

Captions = dict[int, list[str]]


def tokenize(text: str) -> str:
    """Lower-case words separated by spaces, without punctuation, close to what the PTB tokenizer makes of captions.

    Words joined by a hyphen, period, slash or colon stay one, and so do numbers with commas; ``don't`` and ``dog's``
    become ``do n't`` and ``dog 's``. 1,075 captions of COCO came out the same; parentheses, which PTB counts as words, do
    not.
    """
    return ' '.join(_WORD.findall(text.lower().replace('\N{RIGHT SINGLE QUOTATION MARK}', "'")))


def ptb_tokenize(captions: Captions) -> Captions:
    """COCO Captions' own tokenizer, a Java program."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    return PTBTokenizer().tokenize({i: [dict(caption=t) for t in c] for i, c in captions.items()})


def check_ptb_tokenizer() -> None:
    """Try the PTB tokenizer on two words, as it does not notice when Java fails, and writes beside its own files.

    Raises:
        RuntimeError: if it does not work; the message says what to do.
    """
    cause = None
    try:
        if ptb_tokenize({0: ['A cat.']}) == {0: ['a cat']}:
            return
    except OSError as error:
        cause = error
    raise RuntimeError(
        f'the PTB tokenizer of COCO Captions does not run ({cause or "Java fails"}): install a Java runtime (apt-get '
        'install default-jre-headless, or conda install openjdk) and pycocoevalcap where it may write, or set '
        'ptb_tokenizer=False for scores that are close, but not comparable with published ones'
    ) from cause


def _plain(text: str) -> str:
    # The tokenizer takes one caption per line, and bytes.
    return ' '.join(text.encode('utf-8', 'replace').decode().split())


@METRICS.register_module()
class CaptionMetric(COCOCaptionMetric):
    """mmdet's ``COCOCaptionMetric`` without METEOR and SPICE, which want Java and gigabytes of memory.

    Reads ``img_id`` and ``pred_caption`` of the data samples. The results are those of pycocoevalcap's ``COCOEvalCap``
    over the images that were predicted.

    Args:
        ann_file: Captions in COCO's format, Karpathy's ``coco_karpathy_test_gt.json`` included.
        metrics: Which of ``METRIC_NAMES`` to report.
        ptb_tokenizer: Tokenize as COCO Captions' evaluation does, with Java; otherwise by :func:`tokenize`.
        backend_args: For mmengine's file backends.
        kwargs: mmdet's ``COCOCaptionMetric``: ``collect_device``, ``prefix``.

    Raises:
        RuntimeError: if pycocoevalcap is not installed, or the PTB tokenizer is wanted and does not run.
        ValueError: for an unknown metric, if ``ann_file`` has another structure, or if it lacks an image that was
            predicted.
    """

    default_prefix = 'caption'

    def __init__(
        self,
        ann_file: str,
        metrics: Sequence[str] = ('Bleu_4', 'CIDEr'),
        ptb_tokenizer: bool = True,
        backend_args: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(ann_file, **kwargs)
        unknown = sorted(set(metrics) - set(METRIC_NAMES))
        if unknown or not metrics:
            raise ValueError(f'metrics must be of {METRIC_NAMES}, got {metrics!r}')
        if ptb_tokenizer:
            check_ptb_tokenizer()
        self.metrics = metrics
        self.ptb_tokenizer = ptb_tokenizer
        self._references = defaultdict(list)
        (annotations,) = load_lists(ann_file, 'annotations', backend_args=backend_args)
        try:
            for annotation in annotations:
                self._references[int(annotation['image_id'])].append(_plain(annotation['caption']))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{ann_file} is not in COCO Captions' format, image_id and caption: {error!r}") from error

    def _tokenize(self, captions: Captions) -> Captions:
        if self.ptb_tokenizer:
            return ptb_tokenize(captions)
        return {i: [tokenize(text) for text in texts] for i, texts in captions.items()}

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The chosen metrics of all results."""
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge

        predictions = {r['image_id']: [_plain(r['caption'])] for r in results}
        unknown = sorted(set(predictions) - set(self._references))
        if unknown:
            raise ValueError(f'{self.ann_file} has no captions of the images {unknown[:10]}')
        references = self._tokenize({i: self._references[i] for i in predictions})
        predictions = self._tokenize(predictions)
        scores = {}
        for scorer, *names in ((Bleu(4), *METRIC_NAMES[:4]), (Rouge(), 'ROUGE_L'), (Cider(), 'CIDEr')):
            if set(names) & set(self.metrics):
                with contextlib.redirect_stdout(io.StringIO()):  # they print as they go
                    score, _ = scorer.compute_score(references, predictions)
                scores.update(zip(names, score if isinstance(score, list) else [score]))
        return {name: float(scores[name]) for name in self.metrics}
