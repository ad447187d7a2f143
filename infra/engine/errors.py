"""Errors of the engine part: each message is for people and says what to do."""

from __future__ import annotations


class EngineError(Exception):
    """Something about the engine, its tools or a stack's state stands in the way; the message says what to do."""


class ToolError(EngineError):
    """A tool can't be had on this machine; the message lists what was tried."""


class StackLockedError(EngineError):
    """Another operation holds the stack's lock."""
