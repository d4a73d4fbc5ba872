"""Tests of `omgmj.images`."""
