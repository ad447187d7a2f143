"""Is the candidate worse than stable? Sequential tests that may be asked after every batch, and still keep their word.

`counts` is the material, `judge` asks all criteria and shares one budget of false alarms among them; `failures`,
`latency`, `quality` and `ratio` are the criteria; `spending` and `tails` are the arithmetic they share, `histogram` the
form of latencies, `cusum` the alarm that stays armed after promotion.
"""
