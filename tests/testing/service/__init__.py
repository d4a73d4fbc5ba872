"""Tests of `omgmj.testing.service`."""
