"""What a process counts of what it does: plain numbers, from which metrics and the dashboard are made."""
