"""What the dashboard's actions do: one controller for each subject."""
