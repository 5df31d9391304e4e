"""How good a network is: one file per evaluator, each with a ``run`` that returns numbers by name.

What an evaluator needs decides how it is called:

- ``classifier``: ``run(network, batches, strategy, jit_compile)``, see
  :func:`tf_simclrv2.evaluation.classifier.run`;
- ``features``: ``run(train, test)``, two :class:`tf_simclrv2.evaluation.features.Features`, and
  settings of its own by name, each with a default.

``measures`` says how good answers are, whoever gives them: ``classifier.answers``, and ``logits``
of ``knn`` and ``ridge``. ``baselines`` runs those that a sceptic would try first.

A new evaluator is a new file and a row of ``EVALUATORS``.
"""

import importlib
from typing import Any, Callable, Dict, NamedTuple

CLASSIFIER = "classifier"
FEATURES = "features"


class Evaluator(NamedTuple):
    """A row of ``EVALUATORS``.

    Attributes:
      module: the name of its module, which is imported at the first use: scikit-learn takes a
        while to load.
      needs: what it is called with besides labels: ``CLASSIFIER``, a network with a classifier
        head, or ``FEATURES``, those of a training and a test split.
    """

    module: str
    needs: str

    @property
    def logits(self) -> Callable[..., Any]:
        """What the evaluator makes of images, see :func:`tf_simclrv2.evaluation.knn.logits`."""
        return importlib.import_module(f"{__name__}.{self.module}").logits

    @property
    def run(self) -> Callable[..., Dict[str, float]]:
        """The evaluator itself; its results have names such as ``top_1_accuracy``."""
        return importlib.import_module(f"{__name__}.{self.module}").run


EVALUATORS = {
    "classifier": Evaluator("classifier", needs=CLASSIFIER),
    "knn": Evaluator("knn", needs=FEATURES),
    "ridge": Evaluator("ridge", needs=FEATURES),
    "logistic": Evaluator("logistic", needs=FEATURES),
    "class_means": Evaluator("class_means", needs=FEATURES),
    "nearest_neighbour": Evaluator("nearest_neighbour", needs=FEATURES),
    "label_spreading": Evaluator("label_spreading", needs=FEATURES),
}
