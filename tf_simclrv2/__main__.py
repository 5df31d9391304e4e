"""``python -m tf_simclrv2 COMMAND --flags``."""

import sys

from tf_simclrv2.programs.main import console

if __name__ == "__main__":
    sys.exit(console("python -m tf_simclrv2"))
