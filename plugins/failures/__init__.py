"""Where models fail that were right in training: old worlds, planted coincidences."""
