"""Programs that show the package at work; not part of what is installed."""
