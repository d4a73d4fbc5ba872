"""Tests of `omgmj.scheduler`."""
