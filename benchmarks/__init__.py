import os

# As for the scheduler, and numpy reads it when it is imported: threads that spin on shared cores are no time of ours.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
