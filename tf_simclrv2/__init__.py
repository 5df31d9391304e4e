"""SimCLRv2: pretrain without labels, fine-tune on a few, distill with unlabelled images.

"Big Self-Supervised Models are Strong Semi-Supervised Learners", Chen et al., NeurIPS 2020,
https://arxiv.org/abs/2006.10029.

As a library::

  import tf_simclrv2 as simclr

  encoder = simclr.Encoder(resnet_depth=50, image_size=224)

``__init__.pyi`` lists the public names. Each is imported when it is first used, so that this
import takes no time. docs/library.md has worked examples.

Raises:
  ImportError: ``tf.keras`` is Keras 3 already in this process.
"""

import importlib
import sys

import lazy_loader

from tf_simclrv2.environment import prepare

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

prepare()
if "tensorflow" in sys.modules:
    # Too late for the variables above: this makes tf.keras our Keras, or says that it is Keras 3.
    importlib.import_module("tf_simclrv2.keras2")
