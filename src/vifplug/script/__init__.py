"""What the network does: find a plug script, see whether it may run, run it, understand it."""
