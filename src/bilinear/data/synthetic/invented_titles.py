"""Titles for the synthetic catalogue: every one is put together from the word lists below.

A likeness to a real title is chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_NOUNS_OF_GENRES = """\
Sea Tale: Harbour Lighthouse Tide Anchor Reef Schooner Estuary Trawler Cove Buoy Jetty Sail
Space Opera: Orbit Nebula Starship Comet Eclipse Airlock Moon Beacon Satellite Probe Aphelion Hull
Ghost Story: Attic Seance Mirror Manor Crypt Whisper Shadow Nursery Candle Stairwell Portrait Well
Heist: Vault Diamond Alibi Getaway Safe Ledger Forgery Decoy Tunnel Keyring Casino Auction
Village Comedy: Bakery Wedding Goat Allotment Teapot Postman Fete Tractor Scarecrow Choir Marrow Inn
Courtroom: Verdict Jury Witness Appeal Oath Testimony Statute Gavel Defence Hearing Bailiff Dock
Frontier: Prairie Saddle Canyon Stagecoach Saloon Ranch Outpost Campfire Mesa Railhead Corral Trail
Musical: Ballroom Refrain Orchestra Waltz Trumpet Chorus Overture Carousel Encore Violin Tango Stage
Fable: Fox Kingdom Dragon Forest Lantern Riddle Spell Tower Owl Feast Giant Crown
Mountain Drama: Summit Glacier Avalanche Ridge Valley Cabin Blizzard Ascent Ravine Rope Chapel Meadow
Detective: Cipher Alley Dossier Suspect Clue Telegram Typewriter Motive Umbrella Notebook Hotel Glove
Documentary: River Archive Glasshouse Beehive Factory Orchard Market Workshop Quarry Atlas Loom Canal
"""
_ADJECTIVES = """\
Silent Crooked Golden Broken Distant Hidden Scarlet Winter Painted Restless Hollow Second Borrowed Velvet
Midnight Paper Northern Patient Glass Forgotten Copper Sudden Gentle Burning Reluctant Marble Curious
Drifting Seventh Wooden Faithful Moonlit Stubborn Tangled Frozen Quiet Wandering Bitter Emerald Unfinished
"""
_FRAMES = """\
Beyond the {}
The Last {}
Return to the {}
Song of the {}
Letters from the {}
Below the {}
A Map of the {}
The Year of the {}
Waiting for the {}
Nine Days at the {}
Secrets of the {}
The {} at Dawn
The {} in Autumn
The Road to the {}
Behind the {}
Notes on the {}
"""

_LINES = (line.split(": ") for line in _NOUNS_OF_GENRES.splitlines())

NOUNS = {genre: tuple(nouns.split()) for genre, nouns in _LINES}
"""Genre -> its own nouns; no noun serves two genres, so a title tells its first genre."""

GENRES = tuple(NOUNS)


def invented_titles(genres: Sequence[int], years: Sequence[int], rng: np.random.Generator) -> list[str]:
    """One title with its year for each item, all different, such as "The Silent Harbour (1987)".

    Args:
        genres: each item's first genre, a place in `GENRES`.
        years: each item's year.
    """
    stock = [_names(nouns, rng) for nouns in NOUNS.values()]
    used = [0] * len(GENRES)
    titles = []
    for genre, year in zip(genres, years, strict=True):
        part, place = divmod(used[genre], len(stock[genre]))
        used[genre] += 1
        sequel = f" Part {part + 1}" if part else ""
        titles.append(f"{stock[genre][place]}{sequel} ({year})")
    return titles


def _names(nouns: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Every name that one genre's nouns give, shuffled; the long ones only once the short are used up."""
    adorned = [f"{adjective} {noun}" for adjective in _ADJECTIVES.split() for noun in nouns]
    frames = _FRAMES.splitlines()
    short = [f"The {name}" for name in adorned] + [frame.format(noun) for frame in frames for noun in nouns]
    long = [frame.format(name) for frame in frames for name in adorned]
    return [names[n] for names in (short, long) for n in rng.permutation(len(names))]
