"""Makes a plugin of `app.py`, with its interpreter in it.

    python build.py PLUGIN.wasm
"""

import shutil
import sys
import tempfile
from pathlib import Path

import componentize_py

HERE = Path(__file__).resolve().parent
WIT = HERE.parents[3] / "wit" / "0.1.0"


def main():
    words = ["--wit-path", str(WIT), "--world", "preprocessor", "componentize", "app", "--output", sys.argv[1]]
    # A copy: it leaves compiled files beside what it reads.
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(HERE / "app.py", folder)
        sys.argv = ["componentize-py", *words, "--python-path", folder]
        return componentize_py.script()


if __name__ == "__main__":
    sys.exit(main())
