"""Tests of `omgmj.polling`."""
