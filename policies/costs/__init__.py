"""What a plan costs in a month: a price book as data, and an estimate that lists what it cannot price.

`book` reads the prices, `usage` the assumptions, `estimate` does the sum, `refresh` takes prices
anew from the AWS Price List API.
"""
