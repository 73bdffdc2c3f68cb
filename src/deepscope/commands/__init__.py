"""One file per command, each registered as a `Command`: arguments -> workflow -> presenter."""
