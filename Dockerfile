# Search your own images: docker build -t ames . && docker run --rm -v "$PWD/photos:/photos" \
#   -v "$PWD/found:/found" ames search images=/photos query=/photos/one.jpg \
#   data_root=/found output_dir=/found/run
FROM python:3.11-slim
# An index of CPU wheels of torch saves some gigabytes: --build-arg TORCH_INDEX=<its address>
ARG TORCH_INDEX=
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0 \
    && pip install --no-cache-dir . && rm -rf /src
WORKDIR /work
ENTRYPOINT ["ames"]
CMD ["--help"]
