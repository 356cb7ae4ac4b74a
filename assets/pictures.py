"""Pictures in Dagster's metadata. Every byte of them is stored in the event log for ever, so they are small or absent.

The pictures themselves are files of the artefact; the metadata `place` names their folder.
"""

import base64
import io
from collections.abc import Iterable, Mapping

import dagster as dg

from cellassets.storage.artifact import PublishedFile

MAX_PICTURE_BYTES = 32_000  # of one chart
MAX_THUMBNAIL_BYTES = 24_000  # of all thumbnails of one materialisation
THUMBNAIL_PX = 240
JPEG_QUALITY = 60


def chart(title: str, uri: str) -> dg.MarkdownMetadataValue:
    """Returns a chart, given as a data URI; if it is too large for the event log, where it is to be found."""
    if len(uri) > MAX_PICTURE_BYTES:
        return dg.MetadataValue.md(f"{title}: {len(uri) // 1000} kB, shown in the model's report only")
    return dg.MetadataValue.md(f"![{title}]({uri})")


def thumbnails(pictures: Iterable[PublishedFile]) -> Mapping[str, dg.MetadataValue]:
    """Returns a small copy of the first pictures, as far as they fit, and the number of those that do not."""
    shown: dict[str, dg.MetadataValue] = {}
    n_left_bytes, n_left_out = MAX_THUMBNAIL_BYTES, 0
    for picture in pictures:
        content, title = "" if n_left_out else _thumbnail(picture), picture.path.stem
        if n_left_out or len(content) > n_left_bytes:
            n_left_out += 1
            continue
        n_left_bytes -= len(content)
        shown[title] = dg.MetadataValue.md(f"![{title}](data:image/jpeg;base64,{content})")
    return {**shown, "n_pictures_only_in_place": dg.MetadataValue.int(n_left_out)} if n_left_out else shown


def _thumbnail(file: PublishedFile) -> str:
    from PIL import Image

    with Image.open(io.BytesIO(file.read_bytes())) as picture:
        small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=JPEG_QUALITY)
    return base64.b64encode(stream.getvalue()).decode()
