"""`python -m deepscope.cli` is `deepscope`."""

from deepscope.cli.program import main

main()
