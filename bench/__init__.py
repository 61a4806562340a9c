"""Measurements of vizdash, as ratios."""
