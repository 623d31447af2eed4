"""What packaged plug scripts share, beside their directory; the standard library is all it needs (Python 3.9)."""
