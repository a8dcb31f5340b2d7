"""Training: a labelled file or a recipe in, a Hugging Face directory out.

One head on one encoder (`train label | tag | fill`):

    examples    records -> examples with targets; what is held out; which classes there are
    batches     token ids -> padded tensors; shuffled batches of like length
    lessons     what all three share: a model, its batches, a loss, its figures
    label, tag, fill    a lesson each
    linear      regularised linear heads, fitted before the encoder moves
    pooled      mean pooling as one more BERT layer, so that plain transformers pools too
    fit         the loop: best kept, early stop, resume
    saving, card        the directory, and the page that describes it

Several skills on one encoder (`train RECIPE.yaml`): recipe, data, heads, skills, loop, measures, export.
examination tells how good either is, by the measures of `evaluation`.
"""
