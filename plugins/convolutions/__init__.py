"""What convolutions bring, and why."""
