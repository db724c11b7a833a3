# The image of the one program: built where Rust is, run where nothing is but what the program needs.

# The full image rather than the slim one: jemalloc is built with make.
FROM rust:1.95.0-bookworm AS rust
WORKDIR /placard

# The manifests, and a stub for each source that they expect. This does not change when code does, so that the
# layer with the dependencies, which is made from it, is built again only when a manifest is.
FROM rust AS manifests
COPY . .
RUN find cmd internal -name '*.rs' -path '*/src/*' ! -name lib.rs ! -name main.rs ! -path '*/src/bin/*' -delete \
 && find cmd internal -type f ! -name '*.rs' ! -name Cargo.toml -delete \
 && rm -rf migrations clippy.toml rustfmt.toml Makefile LICENSE cmd/*/tests internal/*/tests \
 && find cmd internal -name '*.rs' -exec sh -c 'for file; do echo "fn main() { }" >"$file"; done' sh {} + \
 && find cmd internal -type d -empty -delete

FROM rust AS build
# Line numbers in a panic's backtrace are not worth four fifths of the image.
ENV CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_STRIP=symbols
COPY --from=manifests /placard .
RUN cargo build --locked --release --package placard
COPY . .
# Cargo goes by times, and a source may be older than the stub that was built in its place.
RUN find cmd internal -name '*.rs' -exec touch {} + \
 && cargo build --locked --release --package placard \
 && mkdir /data

FROM debian:12.11-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /placard/target/release/placard /usr/local/bin/placard
# Of the journal when it is embedded, of the checkpoint in a cluster.
COPY --from=build --chown=65532:65532 /data /data
VOLUME /data
ENV PLACARD_LISTEN=0.0.0.0:8080 PLACARD_DATA_DIR=/data
EXPOSE 8080
USER 65532:65532
HEALTHCHECK --interval=2s --timeout=3s --start-period=60s --start-interval=1s --retries=3 \
  CMD ["placard", "healthcheck"]
ENTRYPOINT ["placard"]
CMD ["serve"]
