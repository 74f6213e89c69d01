"""``python -m purejax_mgtopo`` is the `mgtopo` command."""

import sys

from purejax_mgtopo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
