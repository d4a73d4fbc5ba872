"""Tests of what crosses rooms."""
