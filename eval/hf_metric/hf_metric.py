"""The metrics of reconstruction as an `evaluate` metric, which loads offline: `evaluate.load("eval/hf_metric")`."""

import datasets
import evaluate

from c3.eval.metrics import METRICS, all_scores

_DESCRIPTION = """
Means over texts of the metrics of text reconstruction: precision (1 - normalised edit distance over characters), exact
match, order-aware token F1, ROUGE-L, BLEU and the Fox benchmark's set precision and recall, each defined in
c3.eval.metrics.
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION)
class Reconstruction(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description="predictions, references (`list[str]`): texts that came back, and the texts themselves.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions, references):
        scores = [all_scores(*pair) for pair in zip(references, predictions, strict=True)]
        return {name: sum(each[name] for each in scores) / len(scores) for name in METRICS}
