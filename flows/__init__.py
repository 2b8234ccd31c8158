"""Prefect flows over the stages of `tasks/`, and the command line."""
