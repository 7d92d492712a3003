"""Histories of several clients over one forgetful, slow, lossy store, in virtual time, checked as they happen.

The machines are the real ones; everything around them is made here and follows one random seed. See ``README.md``.
"""
