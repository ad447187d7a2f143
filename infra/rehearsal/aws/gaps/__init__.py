"""The layer around moto: supplies what moto lacks, injects faults, counts what was called and refused.

`routing` tells which operation a request is, by botocore's service models; `collections` and `supplied` answer the
operations that moto lacks; `application` is the WSGI application in front of moto's.
"""
