"""The tests of the shop: ``pytest examples/shop``."""
