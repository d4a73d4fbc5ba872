"""Tests of `omgmj.listing`."""
