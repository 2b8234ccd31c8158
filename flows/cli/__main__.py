"""`python -m flows.cli`, the same as `matrix_data`."""

from flows.cli import main

main()
