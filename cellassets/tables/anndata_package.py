"""The optional package anndata, and the names of what it writes.

`cellassets.exporting.vectors` writes such files, `cellassets.profiles.anndata_tables` reads them.
"""

from cellassets.errors import PackageMissing

SUFFIXES = (".h5ad", ".zarr")


def require_anndata() -> None:
    """Returns if the package anndata is installed.

    Raises:
        PackageMissing: it is not.
    """
    try:
        import anndata  # noqa: F401
    except ImportError as error:
        message = f"the package anndata cannot be imported ({error}); run: pip install 'cellassets[anndata]'"
        raise PackageMissing(message) from error
