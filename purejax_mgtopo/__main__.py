"""``python -m purejax_mgtopo`` is the `mgtopo` command."""

import sys

from purejax_mgtopo.huge_pages import restart_with_huge_pages


def run() -> int:
    """The command as a program of its own; `cli.main` is the same within another one."""
    restart_with_huge_pages()
    from purejax_mgtopo.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
