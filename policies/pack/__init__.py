"""The policy pack as the engine sees it: Pulumi's analyzer protocol around `policies.evaluation`.

Served without Pulumi's own pack library, which makes a mandatory rule advisory when it meets an unknown value, and
converts every resource anew for every rule.
"""
