"""Rollouts as a pure function: observed counts and clocks in, next state and effects out.

`strategy` says what a person asks for. `observation` is what the controller sees, once a second. `state` is all that it
must remember, as JSON. `machine` moves one rollout; `model` keeps exactly one rollout per model, the queue, the
quarantine and the way back; `watch` guards what is served after promotion. `analysis` decides whether a candidate is
worse than stable. `simulate` runs all of it against a made-up world, with seeds. Nothing here reads a clock, a file, a
database or a socket.
"""
