"""The tests, room by room; what crosses rooms is in `e2e`."""
