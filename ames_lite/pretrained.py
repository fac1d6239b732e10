"""Heads in folders and on the Hugging Face Hub, by huggingface_hub's mixin.

Behind SimilarityHead.from_pretrained, save_pretrained and push_to_hub. A folder is that of a native
head (weights.safetensors, meta.json) and a README.md, the model card.
"""

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from huggingface_hub.errors import HFValidationError

from ames_lite.errors import BadInput, MissingFile
from ames_lite.io.checkpoint import HeadMeta, load_head, save_head
from ames_lite.models import HEADS, SimilarityHead

CARD = """---
{{ card_data }}
---

# {{ model_id }}

{{ about }}

    from ames_lite.models import SimilarityHead

    head = SimilarityHead.from_pretrained("{{ model_id }}")
    logit = head(src_local=query, tgt_local=gallery)  # [B] of descriptors [B, N, {{ dim_in }}]
"""
TAGS = ["image-retrieval", "reranking", "local-descriptors"]


class HubHead(  # type: ignore[call-arg]  # the package has no types
    ModelHubMixin,
    library_name="ames_lite",
    license="apache-2.0",
    tags=TAGS,
    model_card_template=CARD,
):
    """A head with what is known of it, as the mixin saves it."""

    def __init__(self, head: SimilarityHead, meta: HeadMeta) -> None:
        self.head, self.meta = head, meta
        self.name = next(name for name, kind in HEADS.items() if type(head) is kind)
        self._hub_mixin_config = {"model": self.name, "arguments": head.arguments}  # config.json

    def _save_pretrained(self, save_directory: Path) -> None:
        save_head(save_directory, self.head, self.meta)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The card, with what the meta says."""
        meta = self.meta
        about = f"A similarity head ({self.name}) for descriptors '{meta.desc_name or 'unknown'}'"
        if meta.lamb is not None and meta.temp is not None:
            about += f", with λ {meta.lamb:g} and γ {meta.temp:g}"
        more = {"about": f"{about}.", "dim_in": self.head.dim_in, "model_id": self.name}
        return super().generate_model_card(*args, **{**more, **kwargs})


def from_pretrained(
    kind: type[SimilarityHead], name: str | Path, **download: Any
) -> SimilarityHead:
    """See SimilarityHead.from_pretrained."""
    folder = Path(name) if Path(name).exists() else _download(str(name), **download)
    head, meta = load_head(folder)
    if not isinstance(head, kind):
        what = f"the head is {type(head).__name__}"
        raise BadInput(what, where=name, expected=kind.__name__)
    head.meta = meta
    return head


def _download(name: str, **download: Any) -> Path:
    """The snapshot of a repository. Raises MissingFile where it cannot be had."""
    try:
        patterns = ["*.safetensors", "*.json"]
        return Path(snapshot_download(name, allow_patterns=patterns, **download))
    except (HFValidationError, OSError) as error:  # of the network and of the cache too
        what = f"there is no head '{name}': {str(error).splitlines()[0]}"
        expected = "a folder with weights.safetensors and meta.json, or <user>/<model> of the "
        expected += "Hugging Face Hub"
        raise MissingFile(what, where=Path(name).absolute(), expected=expected) from error


def on_hub(head: SimilarityHead) -> HubHead:
    """The head as the mixin saves it, with the meta that it was loaded with."""
    meta = head.meta
    return HubHead(head, meta if isinstance(meta, HeadMeta) else HeadMeta())
