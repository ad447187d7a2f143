"""The gate of a stack before `up`: the policies judge the plan, open questions are asked, the verdict is signed.

- `assessment`: the engine previews with the policy pack, and the rules about steps are asked besides.
- `checks`: what a plan cannot tell is asked of the account and of the rollout controller.
- `repeated`: a local plan is judged once a day for the same files.
- `verdicts`: both become a verdict, which is signed and put where the gate looks for it.
"""
