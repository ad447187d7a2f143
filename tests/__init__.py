"""Tests of the blueprint; the folders mirror the packages."""
