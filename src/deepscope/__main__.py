"""`python -m deepscope` is `deepscope`."""

from deepscope.cli import main

main()
