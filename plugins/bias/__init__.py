"""Whom models serve worse than others, and what helps."""
