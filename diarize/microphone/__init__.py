"""The microphone: a device that is heard as it speaks, and a view of what it hears."""
