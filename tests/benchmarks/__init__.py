"""How fast bertcli is beside what people run, on this machine: `python -m tests.benchmarks --help`.

    environments   the peers, installed from the registry into environments of their own
    texts          a file of mixed texts, and three shapes made from its words
    checkpoints    a model with heads for every task, and one of BERT-base's size
    peers, ours    programs that load one contestant and answer as often as they are asked
    serving        what these programs have in common
    contest        contestants in turn, medians, answers compared
    processes      whole processes, from start to end: a file, a first answer, a help page
    limit          what this machine's matrix product could do at best
    report, plot   tables and a picture

Nothing here is run by the test suite.
"""
