"""How image stores are packed: settings that every sensor reads. Nothing heavy is imported here."""

from pydantic import Field

from cellassets.configuration import Parameters


class StoreSpec(Parameters):
    """How sites are packed: sites per shard, and compression level.

    lz4 with bit shuffling at level 1 takes an eighth of the time that decoding a PNG takes. `bench/codecs.py` compares
    it with others: byte shuffling makes 8-bit noise hardly smaller, zstd takes three times as long, and higher levels
    save 2% of space. Level 0 stores pixels as they are: packing takes 8% less time, and the store is larger by a third
    (8 bit) to a factor of two (12 bit).
    """

    shard_sites: int = Field(default=64, ge=1, description="sites per file; a killed packing repeats at most one file")
    blosc_level: int = Field(
        default=1, ge=0, le=9, description="0: pixels as they are, fastest and largest; 1: compressed"
    )
