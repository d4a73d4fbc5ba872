"""Tests of `omgmj.protocol`."""
