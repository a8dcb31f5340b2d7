"""Search: the vectors nearest to a vector, by cosine, exactly. NumPy only (and pyarrow for its files).

nearest    the best of many vectors, block by block; pairs that are near duplicates; the best of a stream
vectors    vectors in a file: npy, parquet, or those of a run in a temporary file
rows       the records that vectors belong to, one by one where they are wanted
"""
