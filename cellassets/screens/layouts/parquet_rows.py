"""The names of images that are rows of Parquet files, after checking that the file has the columns of the layout.

`cellassets.screens.planes` reads the images themselves.
"""

from upath import UPath

from cellassets.errors import LayoutError
from cellassets.screens.layouts.definition import ImageRows

COPY_AGAIN = "copy the file again"


def keys_of_rows(place: UPath, images: ImageRows) -> list[str | None]:
    """Returns the name of the image in each row.

    Args:
        place: the Parquet file.
        images: its columns.

    Raises:
        LayoutError: it is no Parquet file, it is damaged, or it has other columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with place.open("rb") as stream:
            file = pq.ParquetFile(stream)
            schema = file.schema_arrow
            _check_columns(str(place), images, schema.names)
            found = schema.field(images.content).type
            is_bytes = pa.types.is_binary(found) or pa.types.is_large_binary(found)
            is_struct = pa.types.is_struct(found) and found.get_field_index("bytes") >= 0
            if not (is_bytes or is_struct):
                message = (
                    f"{place}: column {images.content}: {found}; expected bytes, or a struct with a field `bytes`; "
                    "correct `images` of the layout"
                )
                raise LayoutError(message)
            keys: list[str | None] = file.read(columns=[images.key])[images.key].to_pylist()
    except (ConnectionError, PermissionError):  # says nothing about the file
        raise
    except (pa.lib.ArrowException, OSError) as error:  # pyarrow raises either
        message = f"{place}: damaged Parquet file ({error}); {COPY_AGAIN}"
        raise LayoutError(message) from error
    return keys


def _check_columns(name: str, images: ImageRows, found: list[str]) -> None:
    missing = [column for column in (images.key, images.content) if column not in found]
    if missing:
        message = f"{name}: lacks the column {missing[0]}; it has {found}; correct `images` of the layout"
        raise LayoutError(message)
