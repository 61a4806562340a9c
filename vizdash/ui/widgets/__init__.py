"""Widgets: values go down as attributes, events come up as messages."""
