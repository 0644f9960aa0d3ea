"""How many items of a sequence are wrong: what phoneme, character and word error rates count."""


def edit_distance(found, wanted):
    """The fewest items to put in, take out or exchange that make one sequence the other.

    Reference: Levenshtein 1966.

    Example:
        >>> edit_distance("sitting", "kitten")
        3
    """
    row = list(range(len(wanted) + 1))
    for i, one in enumerate(found, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(wanted, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (one != other))
    return row[-1]
