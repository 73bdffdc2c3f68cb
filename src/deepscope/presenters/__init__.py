"""How results look: `presenters/X.py` makes a `Result` of the data that `commands/X.py` gets from its workflow."""
