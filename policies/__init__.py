"""What may be released and what may be built: rules, costs, the release manifest and the audit ledger.

Everything here decides from explicit inputs; nothing here imports the rest of the blueprint, so that a reviewer can run
a policy without a platform.
"""
