"""A study's trials as files, written piece by piece: no export holds more of them than a page."""
