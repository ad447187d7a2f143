"""Rehearsals: the program of a whole environment, run without an account.

`aws` and `kubernetes` are stand-ins for the official provider plugins. Each is a plugin that talks to a real
implementation of the API on the loopback address; they share `properties` (values by path) and `faults`.
"""
