# The load of the cluster tests, for pods.
ARG BASE
FROM ${BASE}
COPY chaos /usr/local/bin/chaos
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/chaos"]
CMD ["wait"]
