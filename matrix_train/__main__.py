"""`python -m matrix_train`, for `accelerate launch -m matrix_train`."""

from matrix_train.cli.app import main

main()
