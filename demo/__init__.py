"""The main job on real input, in half a minute of reading: ``./dev demo``."""
