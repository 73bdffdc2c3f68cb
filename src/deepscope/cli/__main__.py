"""`python -m deepscope.cli` is `deepscope`."""

from deepscope.cli import main

main()
