"""Tests of `omgmj.client`."""
