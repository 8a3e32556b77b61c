"""Settings that do better on annotated recordings, and what they are worth on recordings they have not seen."""
