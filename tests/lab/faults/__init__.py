"""Faults made on the lab: what the user sees, how soon, and that nothing is lost.

``table.FAULTS`` has a row for each, which docs/faults.md shows with the times of one run.
"""
