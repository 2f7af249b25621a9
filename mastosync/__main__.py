"""`python -m mastosync`."""

import sys

from mastosync.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
