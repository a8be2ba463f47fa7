"""Limits of deep learning that no single failure shows: what it takes to train, to steer and to tell what it knows."""
