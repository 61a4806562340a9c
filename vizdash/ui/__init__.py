"""The dashboard: wiring, widgets and screens. No I/O here; everything goes through Service."""
