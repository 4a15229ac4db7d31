"""Study files from the search definitions of other tools; needs nothing of the service.

Each module reads one format completely: what has a meaning here is carried over, what starts trials elsewhere is told
as a note, and what changes the search and cannot be carried is an error with its path.
"""
