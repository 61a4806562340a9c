"""What the dashboard shows of each subject: text of cells and details."""
