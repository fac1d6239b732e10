"""Requests and answers, in the form of the Jina and Cohere rerank APIs; unknown keys are refused.

Scores of a list never rise. relevance_score is the calibrated probability that a document shows
what the query shows, where the head has one for such scores (see `Service.relevance`), else the
score itself; both lie in [0, 1].
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

MOST_DESCRIPTORS = 2048  # of an image: the head compares them all with all
IMAGE = "base64, a data URL, or the path of a file below one of the roots"


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Picture(Form):
    image: str = Field(description=IMAGE)


class Descriptors(Form):
    """Local descriptors of an image, strongest first."""

    descriptors: str | list[list[float]] = Field(
        description="[T, D] numbers; or, with a shape, base64 of little-endian float16 or float32, "
        "or of packed bits (uint8), in rows"
    )
    shape: tuple[int, int] | None = Field(None, description="[T, D] of base64")


Given = Annotated[str, Field(description=IMAGE)] | Picture | Descriptors


class Options(Form):
    model: str | None = Field(None, description="the one that is served, or left out")
    top_n: int | None = Field(None, ge=1, description="documents of the answer; null: all")
    return_documents: bool = Field(False, description="documents come back as they were sent")
    max_tokens_per_doc: int | None = Field(None, description="of texts: without a meaning here")


class Rerank(Options):
    query: Given
    documents: list[Given] = Field(min_length=1, fail_fast=True)
    sims: list[float] | None = Field(None, description="global similarities, one a document")


class Search(Form):
    query: Annotated[str, Field(description=IMAGE)] | Picture
    top_n: int = Field(12, ge=1)
    box: tuple[float, float, float, float] | None = Field(
        None, description="[x1, y1, x2, y2] in pixels: the part of the query to search for"
    )


class Result(BaseModel):
    index: int = Field(description="of the document in the request")
    relevance_score: float
    document: dict[str, Any] | None = None


class Reranked(BaseModel):
    id: str
    model: str
    results: list[Result] = Field(description="best first")
    usage: dict[str, int] = Field(description="total_tokens: local descriptors compared")
    meta: dict[str, Any] = {"api_version": {"version": "2"}}


class Hit(BaseModel):
    image: str = Field(description="its name in the folder")
    relevance_score: float
    score: float
    global_rank: int = Field(description="before reranking, from 1")


class Found(BaseModel):
    model: str
    results: list[Hit] = Field(description="best first")
    absent: bool = Field(description="no result is an answer (threshold=, max_false=)")
