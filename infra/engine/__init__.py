"""The Pulumi engine and the other native tools: getting them, giving them this project's environment, running them.

`tools.ensure` finds or builds a tool, `environment` says which backend and passphrase a run uses, `stack` runs the
operations, `doctor` says what is odd on the machine. `bootstrap` and `language_host` are started as scripts, before or
beside everything else, and so import almost nothing.
"""
