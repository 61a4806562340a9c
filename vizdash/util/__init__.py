"""What every layer may use: units, text, files, node names, logs, shipped assets."""
