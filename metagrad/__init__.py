"""Meta-gradient estimators over a window of inner updates; knows no environment, network or file."""
