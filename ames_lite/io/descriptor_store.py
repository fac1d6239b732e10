"""The public path of DescriptorStore, which stands in ames_lite/stores/descriptor_store.py."""

from ames_lite.stores.descriptor_store import DescriptorStore

__all__ = ["DescriptorStore"]
