"""Training: a labelled file or a recipe in, a Hugging Face directory out.

Both ways:

    reading      files -> examples
    examples     an example and what it should get; what is held out; which classes there are
    batches      token ids -> padded tensors; shuffled batches of like length
    masking      which tokens are hidden to be guessed
    lessons      the machine that computes, a base loaded into it, and what `fit` teaches
    examination  the held-out part, measured by the measures of `evaluation`
    saving, export, card    the directory, what is in it, and the page that describes it

One head on one encoder (`train label | tag | fill`):

    label, tag, fill    a lesson each
    linear       regularised linear heads, fitted before the encoder moves
    pooled       mean pooling as one more BERT layer, so that plain transformers pools too
    fit          the loop: best kept, early stop, resume
    trial        whether to move the encoder at all, where labels are few
    run          from a request to a directory

Several skills on one encoder (`train RECIPE.yaml`):

    recipe, conversion    YAML -> frozen dataclasses
    materials, corpus     a recipe's sources -> examples, texts, tokens end to end
    buckets, streams      batches by number
    heads        the encoder with its named heads
    skills/      a kind of skill a file: what is learnt from, the loss, how it is measured
    loop, progress    the loop, where it stands
    recipes      from a recipe to a directory
"""
