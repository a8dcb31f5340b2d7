"""Training: a labelled file or a recipe in, a Hugging Face directory out.

reading, recipe_data    files -> examples
dataset      examples and their targets, the split into training and held-out ones, the classes
recipe, conversion      YAML -> frozen dataclasses
corpus       long texts as tokens end to end, and blocks of them
masking      which tokens are masked to be predicted
batches      token ids -> padded tensors; shuffled batches of similar length
machine      the device and the dtype that compute
network      a model of transformers, with named heads or its own
objectives/  one file each for label, tag, fill, answer and embed: batches, loss, validation
probe, mean_layer, few_examples    linear probes, from which label heads start
validation   figures on held-out examples
trainer, state          the loop, and what an interrupted run continues from
run          from a request or a recipe to a directory
saving, export, card    the directory, what is in it, and the page that describes it
"""
