"""Kill -9 at random under load, then account for every recipient (docs/testing.md).

`load` says what is sent, `injector` sends it and writes down what was promised, `rig` runs server
and sink and kills, `verdict` compares promises, log and arrivals, `run` puts them together.
"""
