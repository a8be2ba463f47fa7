"""What becomes of a network when the world is not as its training data were."""
