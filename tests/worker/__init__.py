"""Tests of the worker room: what works by way of a real Redis."""
