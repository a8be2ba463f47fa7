"""``python -m dlbench`` is the console script ``dlbench``."""

from dlbench.cli import main

main()
