"""Enrolled people: what their voices are like, where that was heard, and the file that keeps it.

A person has references, each the mean voice of one recording (`diarize.enrolment` makes them); `gate` decides what may
become one, `store` keeps them, `portable` carries them elsewhere.  Nothing in here logs: voices and names are
personal data.
"""
