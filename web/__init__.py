"""Pages for people: review and explore, over a read-only view of the store and of datasets. No engine, lock or Prefect.

What people decide goes to the journal (tasks/review/journal.py), and nowhere else.
"""
