"""What a person can do to a rollout that runs; each says whether it had an effect."""

from collections.abc import Callable

from serving.rollout.observation import Command, CommandKind
from serving.rollout.state import PauseReason
from serving.rollout.turn import Turn

_SELF_HEALING: frozenset[PauseReason] = frozenset(("metrics", "evidence"))
"""Pauses that end by themselves when what was missing is there; nobody can overrule them for good."""


def _pause(turn: Turn, command: Command) -> bool:
    if turn.state.phase not in ("smoke", "analysing", "baking"):
        return False
    turn.pause("manual", _said(command))
    return True


def _resume(turn: Turn, command: Command) -> bool:
    state = turn.state
    if state.phase != "paused":
        return False
    assert state.paused is not None
    if state.paused not in _SELF_HEALING:
        turn.state = state.but(forgiven=(*state.forgiven, state.paused))
    turn.unpause(_said(command))
    return True


def _promote(turn: Turn, command: Command) -> bool:
    state = turn.state
    phase = state.paused_phase if state.phase == "paused" else state.phase
    if phase == "analysing":
        turn.state = state.but(paused=None, paused_phase=None, paused_for=0.0)
        turn.promote(_said(command))
        return True
    if phase == "baking":
        turn.state = state.but(paused=None, paused_phase=None, paused_for=0.0)
        turn.enter("promoted", _said(command))
        return True
    return False


def _abort(turn: Turn, command: Command) -> bool:
    turn.end("aborted", _said(command))
    return True


def _rollback(turn: Turn, command: Command) -> bool:
    turn.end("rolled-back", _said(command))
    return True


def _said(command: Command) -> str:
    return f"{command.kind} by {command.by}" + (f": {command.reason}" if command.reason else "")


COMMANDS: dict[CommandKind, Callable[[Turn, Command], bool]] = {
    "pause": _pause,
    "resume": _resume,
    "promote": _promote,
    "abort": _abort,
    "rollback": _rollback,
}
