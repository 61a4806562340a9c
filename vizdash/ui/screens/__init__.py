"""Screens: the dashboard, and those that open over it."""
