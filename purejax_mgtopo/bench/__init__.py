"""Measurements of speed: `mgtopo bench`."""
