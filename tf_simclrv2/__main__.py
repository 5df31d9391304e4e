"""``python -m tf_simclrv2 COMMAND --flags``."""

import sys

from tf_simclrv2.programs.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
