"""``python -m fastdicom``: the same as the ``fastdicom`` command."""

from fastdicom.cli import main

if __name__ == "__main__":
    main()
