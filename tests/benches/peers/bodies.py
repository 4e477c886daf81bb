"""Writes the sample pictures as the bodies that `naive.py` and `safe.py` take: one file for each, in their order.

    python bodies.py FOLDER
"""

import sys
from pathlib import Path

from check import samples, write


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, (image, _) in enumerate(samples()):
        (folder / str(number)).write_bytes(write(image, "pickle"))


if __name__ == "__main__":
    main()
