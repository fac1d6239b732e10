"""`python extract/compress_store.py`: a store of local descriptors, kept as product codes."""

from ames_lite.cli.schema.extraction import CompressStore
from ames_lite.cli.shell import dataset_files
from ames_lite.extraction.fitting import compress_store, fit_codebook
from ames_lite.runtime import progress_bar
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.row_layout import say_bytes


def run(config: CompressStore) -> None:
    files = dataset_files(config)
    path = files.local_path(config.split)
    with DescriptorStore.open(path, files.make_local(splits=[config.split])) as store:
        known = None if store.codebook is None else len(store.codebook)
        if known is not None and config.code_bytes in (None, known):
            print(f"{config.split}: {path} has product codes already, {known} bytes each")
            return
        codebook = fit_codebook(store, config.code_bytes or store.dim // 4)
        images, before = len(store), path.stat().st_size
    with progress_bar(images, "compress", "image") as bar:
        compress_store(path, codebook, bar.update)
    each = (say_bytes(size // images) for size in (before, path.stat().st_size))
    print(f"{config.split}: {path}, {' -> '.join(each)} an image")
