"""omgmj."""
