"""The benchmark suite: `make bench`, or `python -m bench --help`.

Everything stays on loopback; run as root it gets a network of its own that holds nothing else.
Figures of one run compare; figures of two days or two machines do not.
"""
