"""Tests of `omgmj.testing`."""
