"""The commands: a file for each noun.  They import what they need when they run, so the command line starts at once."""
