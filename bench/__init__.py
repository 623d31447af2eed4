"""How fast vifplug is, as ratios to the least that the kernel and the disk allow (bench/README.md)."""
