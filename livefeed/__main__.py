"""``python -m livefeed`` is the `livefeed` command."""

from livefeed.cli import main

main(prog_name="livefeed")
