"""Searching for architectures: is what a search finds better than what chance or experts find?"""
