"""How sure networks are, and whether they may be."""
