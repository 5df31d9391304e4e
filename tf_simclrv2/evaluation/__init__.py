"""How good a network is: one file per evaluator, each with a ``run`` that returns numbers by name.

What an evaluator needs decides how it is called:

- ``classifier``: ``run(network, batches, strategy, jit_compile)``, see
  :func:`tf_simclrv2.evaluation.classifier.run`;
- ``features``: ``run(train, test)``, two :class:`tf_simclrv2.evaluation.features.Features`, and
  settings of its own by name, each with a default.

A new evaluator is a new file and a row of ``EVALUATORS``.
"""

import importlib
from typing import Callable, Dict, NamedTuple, Tuple

CLASSIFIER = "classifier"
FEATURES = "features"
LABELS = "labels"


class Evaluator(NamedTuple):
    """A row of ``EVALUATORS``.

    Attributes:
      module: the name of its module, which is imported at the first use: scikit-learn takes a
        while to load.
      needs: what it must be given: a network with a classifier head, features of a training and a
        test split, and the labels of the images.
    """

    module: str
    needs: Tuple[str, ...]

    @property
    def run(self) -> Callable[..., Dict[str, float]]:
        """The evaluator itself; its results have names such as ``top_1_accuracy``."""
        return importlib.import_module(f"{__name__}.{self.module}").run


EVALUATORS = {
    "classifier": Evaluator("classifier", needs=(CLASSIFIER, LABELS)),
    "knn": Evaluator("knn", needs=(FEATURES, LABELS)),
    "ridge": Evaluator("ridge", needs=(FEATURES, LABELS)),
    "logistic": Evaluator("logistic", needs=(FEATURES, LABELS)),
    "class_means": Evaluator("class_means", needs=(FEATURES, LABELS)),
}
