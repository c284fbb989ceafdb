"""`python -m fcnproto` is `fcnproto`."""

from fcnproto.cli import main

main(prog_name="fcnproto")
