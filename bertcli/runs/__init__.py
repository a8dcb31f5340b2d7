"""Runs: what a request sets in motion, without the command line.

preflight     open the model of a request, check it, choose its head
tasks         TASKS: how each task is made from its request and a model
run           run(request): source, model, task, sink, engine and pipeline, each opened once
flow          the parts of a run that others use too: feed, choice of the engine, counting
resume        what a run writes down to be resumed, and where an interrupted one continues
guarantee     the file that `evaluate label --guarantee` writes and `label --guarantee` reads
sample        which records of a file to check
label_counts  how often each label was given
"""
