"""The log as a sparse matrix: who took what, once each."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from monge.data.interactions import Interactions


def user_item_matrix(log: Interactions) -> sp.csr_array:
    """(n_users, n_items) float64: 1 where a user took an item at least once, sorted by item within each row.

    >>> user_item_matrix(Interactions.from_columns(["ann", "bob", "bob", "bob"], ["x", "x", "y", "y"])).toarray().tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    numbers = (log.user.astype(np.int32), log.item.astype(np.int32))  # half the memory, here and in products
    matrix = sp.csr_array((np.ones(len(log)), numbers), shape=(log.n_users, log.n_items))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
