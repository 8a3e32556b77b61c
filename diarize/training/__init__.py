"""Making, augmenting and measuring training data; not needed to diarize."""
