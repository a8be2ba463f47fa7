"""How networks fail under small and natural changes of their input."""
