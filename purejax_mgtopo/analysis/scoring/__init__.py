"""Scores of rules that decide who talks to whom, and their picture."""
