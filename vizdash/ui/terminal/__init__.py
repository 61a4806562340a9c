"""The terminal: how the dashboard draws, reads keys in order, notifies, and survives errors."""
