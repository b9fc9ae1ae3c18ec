"""Looking into texts: hashes that stay the same, shingles, sketches and near pairs, and what must not leave the house.

Steps and outputs both look into texts and must not know each other, so this stands below them. It knows nothing else.
"""
