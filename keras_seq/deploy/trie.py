"""Words as a table of numbers that a graph can walk through a byte at a time: a double array (Aoe, 1989).

A state s goes on with byte c to the state t = base[s] + c if check[t] == s, otherwise nowhere. States share one array:
a vocabulary of 8,000 pieces takes some 25,000 places where a table of all states and bytes would take five million.
"""

import numpy as np

DEAD, ROOT = 0, 1
BYTES = 256


def double_array(words):
    """The table of some words.

    Args:
        words: distinct, non-empty bytes, none of them with a zero in it.

    Returns:
        base and check, int32 (P,), and a list of the states that the words end in. A walk begins in ROOT; DEAD goes on
        to DEAD. base[s] + c is below P for every state s and byte c.

    Example:
        >>> base, check, ends = double_array([b"a", b"ab"])
        >>> state = base[ROOT] + ord("a")
        >>> bool(check[state] == ROOT), bool(state == ends[0])
        (True, True)
    """
    nodes, ends = children(words)
    places = Places(2 * len(nodes) + 4 * BYTES)
    inner = sorted((n for n in range(len(nodes)) if nodes[n]), key=lambda n: (-len(nodes[n]), n))
    bases = {node: places.take(np.array(list(nodes[node]))) for node in inner}  # the widest first: hard to place
    state = {0: ROOT} | {child: bases[n] + byte for n in inner for byte, child in nodes[n].items()}
    base, check = np.zeros(len(places.free), "int32"), np.full(len(places.free), -1, "int32")
    for node in inner:
        base[state[node]] = bases[node]
        check[[state[child] for child in nodes[node].values()]] = state[node]
    size = int(base.max()) + BYTES
    return base[:size], check[:size], [state[node] for node in ends]


def children(words):
    """The nodes of the trie, each {byte: node}, a parent before its children; and the nodes that the words end in."""
    nodes, ends = [{}], []
    for word in words:
        node = 0
        for byte in word:
            if byte not in nodes[node]:
                nodes[node][byte] = len(nodes)
                nodes.append({})
            node = nodes[node][byte]
        ends.append(node)
    return nodes, ends


class Places:
    """Which places of the array are free."""

    def __init__(self, size):
        self.free = np.ones(size, bool)
        self.free[:BYTES] = False  # so that no base is below 0
        self.first = BYTES

    def take(self, bytes_):
        """The first base at which the children of a node, at base + their bytes, find free places; these are taken."""
        while not self.free[self.first]:
            self.first += 1
        bases = np.arange(self.first - bytes_.min(), self.first + BYTES)
        while not len(found := np.flatnonzero(self.free[bases[:, None] + bytes_].all(axis=1))):
            bases += len(bases)
        self.free[bases[found[0]] + bytes_] = False
        return int(bases[found[0]])
