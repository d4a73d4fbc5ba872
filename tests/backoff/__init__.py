"""Tests of `omgmj.backoff`."""
