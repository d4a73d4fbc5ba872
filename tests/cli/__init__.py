"""Tests of `omgmj.cli`."""
