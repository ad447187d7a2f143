"""What a change would do to a stack, without an account: planning stand-ins that touch nothing at all.

A rehearsal runs a stack's whole life against servers. A review only asks what would be made, changed, replaced and
deleted: the three providers here check inputs, compare them with those of last time and make outputs up, each time the
same ones. See docs/adr/0017-planning-stand-ins.md.
"""
