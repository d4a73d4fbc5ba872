"""Tests of `omgmj.journal`."""
