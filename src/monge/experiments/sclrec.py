"""Tables 2 and 3 and Figure 2 of "Soft Contrastive Learning for Implicit Feedback Recommendations" (Zhuang, Zhang), and two of ours.

Gowalla is the release of LightGCN, its training and test files joined and split anew 8:1:1; the paper's counts are those of this release.
MovieLens-10M and TmallBuy are not at hand, and neither is the paper's split, so values cannot match to the last digit. IR and T-CE, of
which Table 2 also has columns, are not built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from monge.experiments.experiment import Experiment, Variant, paper_row

PAPER = 'Zhuang and Zhang, "Soft Contrastive Learning for Implicit Feedback Recommendations"'
SHARED: Mapping[str, Any] = {"select": "ndcg@20", "epochs": 300, "patience": 10, "dim": 64, "batch_size": 1024, "learning_rate": 1e-3}
"""Sec. 4.1: the same for all models, stopped after 10 epochs without a better validation NDCG@20."""
SPLIT = "random 8:1:1 per user with a fixed seed; the paper's split and its seed are not published"
TAU = "the paper never gives tau: CLRec and SCLRec have 0.2 alike, that of DirectAU's published CLRec"
PUT_BACK = "popularity put back: a weight (untuned: tau) times the log of an item's share of the training pairs is added to its score; ours"
CUTS = ("recall@10", "recall@20", "recall@50", "ndcg@10", "ndcg@20", "ndcg@50")

PRIOR = 0.2
CONTRASTIVE = {"CLRec": "clrec", "SCLRec": "sclrec"}
AS_PRINTED: Mapping[str, Any] = {"prior_weight": 0.0}
"""Of the rows that stand beside the paper's; those with popularity put back are ours."""
BASELINES = (Variant(label="Popular", model="popular", seeded=False), Variant(label="ItemKNN", model="itemknn", seeded=False))
TABLE2 = Experiment(
    title="SCLRec beside its baselines",
    source=f"{PAPER}, Table 2 (Gowalla)",
    data="gowalla",
    protocol="ratio",
    metrics=CUTS,
    options=SHARED,
    variants=(
        *BASELINES,
        Variant(label="EASE", model="ease", seeded=False, may_not_fit=True),
        Variant(label="BPRMF", model="bprmf", paper=paper_row(CUTS, ".0866 .1263 .2040 .0622 .0736 .0926")),
        Variant(label="BUIR", model="buir", paper=paper_row(CUTS, ".0798 .1164 .1917 .0570 .0676 .0858")),
        Variant(label="LightGCN", model="lightgcn", paper=paper_row(CUTS, ".1289 .1871 .2934 .0930 .1097 .1356")),
        Variant(label="CLRec", model="clrec", options=AS_PRINTED, paper=paper_row(CUTS, ".1215 .1755 .2813 .0868 .1022 .1281")),
        Variant(
            label="DirectAU",
            model="directau",
            options=AS_PRINTED,
            untuned={"gamma": 5.0, "weight_decay": 1e-6},
            paper=paper_row(CUTS, ".1394 .2014 .3127 .0991 .1170 .1442"),
        ),
        Variant(label="SCLRec", model="sclrec", options=AS_PRINTED, paper=paper_row(CUTS, ".1420 .2078 .3230 .1008 .1215 .1489")),
        *(
            Variant(label=f"{label}, popularity put back", model=model, untuned={"prior_weight": PRIOR})
            for label, model in CONTRASTIVE.items()
        ),
    ),
    against=(
        *(("SCLRec", label) for label in ("CLRec", "DirectAU", "LightGCN", "BPRMF", "ItemKNN")),
        *((f"{label}, popularity put back", label) for label in CONTRASTIVE),
        *(("SCLRec, popularity put back", label) for label in ("CLRec, popularity put back", "LightGCN", "ItemKNN", "EASE")),
    ),
    notes=(
        SPLIT,
        TAU,
        "what is printed below is of Gowalla, whatever the data; untuned, DirectAU has its authors' options for Gowalla",
        PUT_BACK,
    ),
)


CENTRE: Mapping[str, Any] = {
    "alpha": 0.9,
    "user_weight": 1.0,
    "item_weight": 1.0,
    "popularity_weight": 0.1,
    "entropy": 0.1,
    "n_iterations": 6,
}
"""What Table 3's rows leave as it is."""


def _ablated(label: str, recall: float | None = None, ndcg: float | None = None, **options: Any) -> Variant:
    printed = {} if recall is None or ndcg is None else {"recall@50": recall, "ndcg@50": ndcg}
    return Variant(label=label, model="sclrec", options={**CENTRE, **AS_PRINTED, **options}, paper=printed)


ABLATIONS = (
    _ablated("alpha 0.8", 0.4283, 0.2848, alpha=0.8),
    _ablated("alpha 0.99", 0.4368, 0.3014, alpha=0.99),
    _ablated("user weight 0", 0.4496, 0.2945, user_weight=0.0),
    _ablated("item weight 0", 0.4487, 0.2927, item_weight=0.0),
    _ablated("popularity weight 0", 0.4380, 0.2921, popularity_weight=0.0),
    _ablated("entropy 0.05", 0.4586, 0.2985, entropy=0.05),
    _ablated("entropy 0.2", 0.4424, 0.2923, entropy=0.2),
    _ablated("0 iterations", 0.4440, 0.2908, n_iterations=0),
    _ablated("without teacher", ema=False),
    _ablated("popularity weight 1, counts", popularity_weight=1.0, popularity_scale="count"),
    _ablated("same items masked", mask_false_negatives="same_item"),
    _ablated("observed pairs masked", mask_false_negatives="all_observed"),
    _ablated("both directions", symmetric=True),
)
TABLE3 = Experiment(
    title="What SCLRec's parts do",
    source=f"{PAPER}, Table 3 (MovieLens-10M); one changed, the others at alpha .9, weights 1, 1, .1, lambda .1, 6 iterations",
    data="ml-1m-ge4",
    protocol="ratio",
    metrics=("recall@20", "recall@50", "ndcg@20", "ndcg@50"),
    options=SHARED,
    variants=(
        *BASELINES,
        Variant(label="CLRec", model="clrec", options=AS_PRINTED, paper={"recall@50": 0.4370, "ndcg@50": 0.3019}),
        _ablated("SCLRec", 0.4669, 0.3071),
        *ABLATIONS,
    ),
    against=(("SCLRec", "CLRec"), *((variant.label, "SCLRec") for variant in ABLATIONS)),
    notes=(SPLIT, TAU, "the paper's data are MovieLens-10M: compare orders and gains, not values", "rows without printed values are ours"),
)

TAUS = (0.1, 0.2, 0.3, 0.5, 1.0)
SCORES: Mapping[str, Callable[[float], Mapping[str, Any]]] = {
    "": lambda tau: {"tau": tau, "score": "normalised", "prior_weight": 0.0},
    ", raw score": lambda tau: {"tau": tau, "score": "raw", "prior_weight": 0.0},
    ", popularity put back": lambda tau: {"tau": tau, "score": "normalised", "prior_weight": tau},
}
TEMPERATURE = Experiment(
    title="How much of SCLRec's gain is the temperature, and how much the score",
    source="the paper has no such table",
    data="ml-1m-ge4",
    protocol="ratio",
    metrics=("recall@20", "ndcg@20"),
    options=SHARED,
    variants=(
        *BASELINES,
        *(
            Variant(label=f"{label}, tau {tau}{score}", model=model, options=options(tau))
            for score, options in SCORES.items()
            for tau in TAUS
            for label, model in CONTRASTIVE.items()
        ),
    ),
    against=(
        *((f"SCLRec, tau {tau}", f"CLRec, tau {tau}") for tau in TAUS),
        *((f"CLRec, tau {tau}", "CLRec, tau 0.2") for tau in TAUS if tau != 0.2),
        *((f"CLRec, tau {tau}{score}", f"CLRec, tau {tau}") for score in SCORES if score for tau in TAUS),
        *((f"SCLRec, tau {tau}, popularity put back", f"CLRec, tau {tau}, popularity put back") for tau in TAUS),
    ),
    notes=(
        SPLIT,
        "raw score: ranked by inner products of vectors that training saw normalised, as DirectAU's published code does",
        PUT_BACK,
    ),
)

RATIOS = (0.0, 0.05, 0.1, 0.15, 0.2)
NOISY = {
    "Popular": "popular",
    "ItemKNN": "itemknn",
    "BPRMF": "bprmf",
    "BUIR": "buir",
    "LightGCN": "lightgcn",
    "CLRec": "clrec",
    "DirectAU": "directau",
    "SCLRec": "sclrec",
    "CLRec, popularity put back": "clrec",
    "SCLRec, popularity put back": "sclrec",
}
NOISE = Experiment(
    title="Pairs that nobody observed, added to the training part",
    source=f"{PAPER}, Figure 2, which prints no numbers",
    data="ml-1m-ge4",
    protocol="ratio",
    metrics=("recall@10", "ndcg@20"),
    options=SHARED,
    variants=tuple(
        Variant(
            label=f"{label}, {ratio:.0%}",
            model=model,
            like=label,
            options=AS_PRINTED if label in ("CLRec", "DirectAU", "SCLRec") else {},
            untuned={"prior_weight": PRIOR} if "put back" in label else {},
            noise_ratio=ratio,
            seeded=model not in ("popular", "itemknn"),
        )
        for label, model in NOISY.items()
        for ratio in RATIOS
    ),
    against=(
        *((f"{label}, {ratio:.0%}", f"{label}, 0%") for label in NOISY for ratio in RATIOS[1:]),
        *((f"SCLRec{score}, {ratio:.0%}", f"CLRec{score}, {ratio:.0%}") for score in ("", ", popularity put back") for ratio in RATIOS),
    ),
    notes=(SPLIT, TAU, "the same false pairs for every model and every seed; the gain over the row of 0 % is the degradation"),
)
