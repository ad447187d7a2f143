"""What a plan costs in a month: a price book as data, and an estimate that lists what it cannot price.

`book` reads the prices, `usage` the assumptions, `estimate` does the sum, `change` compares two of them for the review,
`refresh` takes prices anew from the AWS Price List API.
"""
