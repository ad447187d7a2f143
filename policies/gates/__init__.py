"""Who may change a gated environment: verdicts, break-glass statements, and what a gate makes of them.

- `verdict`: what the policies said of one stack, commit and configuration, signed.
- `breakglass`: two people answer for a change that has no verdict, for some hours.
- `decision`: whether a gate opens: a pure function of these, the trust root and the time.
- `digest`: by which policies a verdict was made.
- `files`: where both lie between the command that writes them and the gate that reads them.
"""
