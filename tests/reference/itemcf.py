"""ItemCF by counting with sets; shares nothing with monge."""

import math


def similarities(inputs: dict[int, list[int]], n_items: int, *, inverse_user_frequency: bool) -> list[list[float]]:
    """s_ij = sum over users of both of w_u / sqrt(|U_i| |U_j|), w_u = 1 / ln(1 + |I_u|) or 1; 0 on the diagonal.

    `inputs` are the items of each user from which is learnt.
    """
    takers = [{user for user, items in inputs.items() if item in items} for item in range(n_items)]
    table = [[0.0] * n_items for _ in range(n_items)]
    for i in range(n_items):
        for j in range(n_items):
            if i != j:
                for user in takers[i] & takers[j]:
                    weight = 1 / math.log(1 + len(set(inputs[user]))) if inverse_user_frequency else 1.0
                    table[i][j] += weight / math.sqrt(len(takers[i]) * len(takers[j]))
    return table
