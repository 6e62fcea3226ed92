"""What all tests share."""

from hypothesis import settings

# A deadline measures the machine, which others use too: an example is slow, and its test red.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
