"""Apptainer images: where they are, and on which nodes."""
